//! Queued Operations to publish, or to publish again, and attempts that nodes must stop.

use aegir_protocol::id::AttemptId;
use aegir_protocol::name::BackendName;
use aegir_protocol::operation::Operation;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

/// An attempt that was handed out and that no node has claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatched {
    /// The Operation's number.
    pub number: i64,
    pub attempt: AttemptId,
    /// How urgent it is.
    pub priority: u8,
}

/// One look into the index for each backend, however much waits.
const BACKENDS_TO_PUBLISH: &str = "\
    WITH RECURSIVE found (found) AS ( \
        SELECT min(backend) FROM operations WHERE state = 'queued' AND published = 0 \
        UNION ALL \
        SELECT (SELECT min(backend) FROM operations WHERE state = 'queued' AND published = 0 AND backend > found) \
        FROM found WHERE found IS NOT NULL) \
    SELECT found FROM found WHERE found IS NOT NULL AND found NOT IN (SELECT backend FROM pauses)";

/// The index has them in this order.
const OUTBOX: &str = "\
    SELECT number, id, attempt, priority FROM operations \
    WHERE state = 'queued' AND published = ?1 AND backend = ?2 ORDER BY priority DESC, number LIMIT ?3";

/// For the test of their plans.
#[cfg(test)]
pub(crate) const OUTBOX_QUERIES: [&str; 2] = [BACKENDS_TO_PUBLISH, OUTBOX];

impl Store {
    /// The backends for which something is queued that the broker has not confirmed, but for paused ones.
    pub(crate) async fn backends_to_publish(&self) -> Result<Vec<BackendName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(BACKENDS_TO_PUBLISH).fetch_all(&self.readers).await?;
        names.iter().map(|name| rows::parse("backend", name)).collect()
    }

    /// What is queued for a backend and not confirmed by the broker: the most urgent first, and of these in the order of
    /// submission.
    pub(crate) async fn unpublished(
        &self,
        backend: &BackendName,
        limit: usize,
    ) -> Result<Vec<Dispatched>, StoreError> {
        self.outbox(backend, false, limit).await
    }

    /// What the broker has confirmed for a backend and no node has claimed, in the same order.
    pub(crate) async fn unclaimed(
        &self,
        backend: &BackendName,
        limit: usize,
    ) -> Result<Vec<Dispatched>, StoreError> {
        self.outbox(backend, true, limit).await
    }

    async fn outbox(
        &self,
        backend: &BackendName,
        published: bool,
        limit: usize,
    ) -> Result<Vec<Dispatched>, StoreError> {
        let rows = sqlx::query(OUTBOX)
            .bind(published)
            .bind(backend.as_str())
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&self.readers)
            .await?;
        let read = |row: &SqliteRow| {
            Ok(Dispatched {
                number: row.try_get("number")?,
                attempt: attempt_id(row)?,
                priority: row.try_get("priority")?,
            })
        };
        rows.iter().map(read).collect()
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
        let mut operation = rows::document(row.try_get("document")?)?;
        operation.attempt = rows::attempt(row.try_get("attempt")?)?;
        operation.retry_of = operation.attempt.before();
        if operation.retry_of.is_some() {
            self.add_done(number, &mut operation).await?;
        }
        Ok(Some(operation))
    }

    /// Which of these should have stopped: called off while a node had them, or given up.
    pub(crate) async fn to_stop(&self, listed: &[AttemptId]) -> Result<Vec<AttemptId>, StoreError> {
        let listed: Vec<_> =
            listed.iter().map(|listed| (listed.operation.to_string(), listed.attempt.get())).collect();
        let listed = serde_json::to_string(&listed)
            .map_err(|error| StoreError::Unreadable(format!("a list of attempts: {error}")))?;
        let rows = sqlx::query(
            "SELECT o.id, a.attempt FROM json_each(?1) listed \
             JOIN operations o ON o.id = listed.value ->> 0 \
             JOIN attempts a ON a.operation = o.number AND a.attempt = listed.value ->> 1 \
             WHERE a.outcome = 'lost' OR (o.attempt = a.attempt AND o.cancel_requested = 1)",
        )
        .bind(listed)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(attempt_id).collect()
    }
}

fn attempt_id(row: &SqliteRow) -> Result<AttemptId, StoreError> {
    let operation = rows::id(row.try_get("id")?)?;
    Ok(AttemptId { operation, attempt: rows::attempt(row.try_get("attempt")?)? })
}
