//! What the broker does not have yet, or should have again.

use aegir_protocol::id::AttemptId;
use aegir_protocol::operation::Operation;
use sqlx::Row as _;

use super::operations::document;
use crate::store::{Store, StoreError, rows};

/// An Operation that is to be published, and its place in the outbox.
#[derive(Clone, Debug)]
pub struct Unpublished {
    /// The Operation's number: read on from here.
    pub number: i64,
    /// The Operation.
    pub operation: Operation,
}

impl Store {
    /// What is queued, not confirmed by the broker, and behind `after`, in the order of submission.
    pub(crate) async fn unpublished(&self, after: i64, limit: u32) -> Result<Vec<Unpublished>, StoreError> {
        let rows = sqlx::query(
            "SELECT number, document, attempt FROM operations WHERE state = 'queued' AND published = 0 \
             AND number > ?1 ORDER BY number LIMIT ?2",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let mut operation = document(row.try_get("document")?)?;
                operation.attempt = rows::attempt(row.try_get("attempt")?)?;
                Ok(Unpublished { number: row.try_get("number")?, operation })
            })
            .collect()
    }

    /// What the broker confirmed at `before` (microseconds) or earlier, and no node has claimed.
    pub(crate) async fn unclaimed(&self, before: i64) -> Result<Vec<AttemptId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, attempt FROM operations WHERE state = 'queued' AND published = 1 \
             AND published_at <= ?1 ORDER BY number LIMIT 1000",
        )
        .bind(before)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let operation = rows::id(row.try_get("id")?)?;
                Ok(AttemptId { operation, attempt: rows::attempt(row.try_get("attempt")?)? })
            })
            .collect()
    }
}
