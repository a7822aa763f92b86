//! Backends on which nothing new may start.

use aegir_api::PauseRequest;
use aegir_protocol::name::BackendName;

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::writer::WriteCommand;

/// Nothing new may start on a backend.
#[derive(Debug)]
pub struct PauseBackend {
    pub backend: BackendName,
    /// Who asks, and why.
    pub request: PauseRequest,
}

impl WriteCommand for PauseBackend {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        // Who asks again says why anew; since when stays.
        sqlx::query(
            "INSERT INTO pauses (backend, by, reason, since) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (backend) DO UPDATE SET by = excluded.by, reason = excluded.reason",
        )
        .bind(self.backend.as_str())
        .bind(self.request.requested_by.as_deref())
        .bind(self.request.reason.as_deref())
        .bind(batch.now)
        .execute(&mut batch.connection)
        .await?;
        Ok(())
    }
}

/// A backend's pause is over.
#[derive(Debug)]
pub struct ResumeBackend {
    pub backend: BackendName,
}

impl WriteCommand for ResumeBackend {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM pauses WHERE backend = ?1")
            .bind(self.backend.as_str())
            .execute(&mut batch.connection)
            .await?;
        batch.effects.publish = true;
        Ok(())
    }
}

impl Batch {
    /// Whether nothing new may start on the backend of this Operation.
    pub(super) async fn is_paused(&mut self, number: i64) -> Result<bool, StoreError> {
        let paused: i64 = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM pauses p JOIN operations o ON o.backend = p.backend \
             WHERE o.number = ?1)",
        )
        .bind(number)
        .fetch_one(&mut self.connection)
        .await?;
        Ok(paused != 0)
    }
}
