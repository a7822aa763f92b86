//! One-time codes and sessions of the page. Only hashes are stored.

use jiff::Timestamp;

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::writer::WriteCommand;

/// Adds a one-time code.
#[derive(Debug)]
pub struct AddCode {
    /// SHA-256 of the code.
    pub hash: [u8; 32],
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl WriteCommand for AddCode {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM sign_in_codes WHERE expires_at <= ?1",
            "DELETE FROM sessions WHERE expires_at <= ?1",
        ] {
            sqlx::query(statement).bind(batch.now).execute(&mut batch.connection).await?;
        }
        sqlx::query("INSERT INTO sign_in_codes (hash, expires_at) VALUES (?1, ?2)")
            .bind(&self.hash[..])
            .bind(self.expires_at.as_microsecond())
            .execute(&mut batch.connection)
            .await?;
        Ok(())
    }
}

/// Exchanges a one-time code for a session.
#[derive(Debug)]
pub struct RedeemCode {
    /// SHA-256 of the code.
    pub code: [u8; 32],
    /// SHA-256 of the session's id.
    pub session: [u8; 32],
    /// Until when the session lasts.
    pub expires_at: Timestamp,
}

impl WriteCommand for RedeemCode {
    /// Whether the code worked.
    type Answer = bool;

    async fn apply(&self, batch: &mut Batch) -> Result<bool, StoreError> {
        let worked = sqlx::query("DELETE FROM sign_in_codes WHERE hash = ?1 AND expires_at > ?2")
            .bind(&self.code[..])
            .bind(batch.now)
            .execute(&mut batch.connection)
            .await?
            .rows_affected()
            > 0;
        if worked {
            sqlx::query("INSERT INTO sessions (hash, expires_at) VALUES (?1, ?2)")
                .bind(&self.session[..])
                .bind(self.expires_at.as_microsecond())
                .execute(&mut batch.connection)
                .await?;
        }
        Ok(worked)
    }
}

/// Ends a session.
#[derive(Debug)]
pub struct EndSession {
    /// SHA-256 of the session's id.
    pub session: [u8; 32],
}

impl WriteCommand for EndSession {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM sessions WHERE hash = ?1")
            .bind(&self.session[..])
            .execute(&mut batch.connection)
            .await?;
        Ok(())
    }
}
