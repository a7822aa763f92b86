//! What the broker does not have yet, or should have again; what nodes should have stopped.

use aegir_protocol::id::AttemptId;
use aegir_protocol::name::BackendName;
use aegir_protocol::operation::Operation;
use sqlx::Row as _;

use super::operations::document;
use crate::store::{Store, StoreError, rows};

impl Store {
    /// The numbers of what is queued and not confirmed by the broker, in the order of submission.
    pub(crate) async fn unpublished(&self, limit: u32) -> Result<Vec<i64>, StoreError> {
        Ok(sqlx::query_scalar(
            "SELECT number FROM operations WHERE state = 'queued' AND published = 0 ORDER BY number LIMIT ?1",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await?)
    }

    /// The Operation with this number, as it is to be published; `None` when it is not queued any more.
    pub(crate) async fn queued(&self, number: i64) -> Result<Option<Operation>, StoreError> {
        let row = sqlx::query(
            "SELECT document, attempt FROM operations WHERE number = ?1 AND state = 'queued' AND published = 0",
        )
        .bind(number)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let mut operation = document(row.try_get("document")?)?;
        operation.attempt = rows::attempt(row.try_get("attempt")?)?;
        Ok(Some(operation))
    }

    /// What the broker confirmed at `before` (microseconds) or earlier, and no node has claimed; with its backend.
    pub(crate) async fn unclaimed(&self, before: i64) -> Result<Vec<(AttemptId, BackendName)>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, attempt, backend FROM operations WHERE state = 'queued' AND published = 1 \
             AND published_at <= ?1 ORDER BY number LIMIT 1000",
        )
        .bind(before)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                let operation = rows::id(row.try_get("id")?)?;
                let attempt = AttemptId { operation, attempt: rows::attempt(row.try_get("attempt")?)? };
                Ok((attempt, rows::parse("backend", row.try_get("backend")?)?))
            })
            .collect()
    }

    /// What was called off while a node had it, and has not ended.
    pub(crate) async fn canceling(&self) -> Result<Vec<AttemptId>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, attempt FROM operations WHERE cancel_requested = 1 \
             AND state IN ('claimed', 'running') LIMIT 10000",
        )
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
