//! Accepting an Operation.

use aegir_protocol::id::OperationId;
use aegir_protocol::operation::{Approved, Operation};
use aegir_protocol::request::Accepted;
use aegir_protocol::state::State;
use sqlx::Row as _;

use crate::ledger::{Event, FRONTEND, Standing, Terms};
use crate::store::batch::Batch;
use crate::store::standing::Current;
use crate::store::{Command, StoreError, rows};

/// Stores an Operation, and takes its locks if they are free.
#[derive(Debug)]
pub struct Submit {
    /// The Operation, secrets sealed.
    pub operation: Operation,
    /// How it is tried again.
    pub terms: Terms,
    /// The same key with the same request gives the same Operation.
    pub idempotency_key: Option<String>,
    /// What the request is compared by.
    pub request_mac: [u8; 32],
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is stored, now or before.
    Accepted(Accepted),
    /// The key stands for another request.
    Conflict,
    /// The plan that it runs is of before this other Operation, which is of the same target.
    Overtaken(OperationId),
}

impl Command for Submit {
    type Answer = Submitted;

    async fn apply(&self, batch: &mut Batch) -> Result<Submitted, StoreError> {
        if let Some(key) = &self.idempotency_key {
            let earlier = sqlx::query(EARLIER).bind(key).fetch_optional(&mut batch.connection).await?;
            if let Some(earlier) = earlier {
                return repeated(&earlier, &self.request_mac);
            }
        }
        let operation = &self.operation;
        if let Some(approved) = &operation.approved
            && let Some(other) = overtaken_by(batch, approved).await?
        {
            return Ok(Submitted::Overtaken(other));
        }
        let number = self.insert(batch).await?;
        batch.line_up(number, operation.priority, &operation.locks).await?;
        let standing = Standing::new(self.terms);
        let mut current = Current { number, id: operation.id, revision: 1, standing };
        if batch.take_locks(number).await? {
            // Taking locks is never refused.
            let _ = batch.happen(&mut current, &Event::LocksTaken).await?;
        }
        batch.effects.changed.insert(operation.id);
        Ok(Submitted::Accepted(Accepted {
            id: operation.id,
            attempt: current.standing.attempt,
            state: current.standing.state,
            published: current.standing.published,
            repeated: false,
        }))
    }
}

impl Submit {
    async fn insert(&self, batch: &mut Batch) -> Result<i64, StoreError> {
        let operation = &self.operation;
        let document = serde_json::to_string(operation)
            .map_err(|error| StoreError::Unreadable(format!("the Operation itself: {error}")))?;
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO operations (id, document, name, backend, target_kind, target_id, target_name, \
             priority, dry_run, requested_by, requested_at, state, revision, changed_at, attempt, published, \
             cancel_requested, idempotency_key, request_mac, lease_seconds, retry_attempts, \
             retry_backoff_seconds) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1, ?13, ?14, 0, 0, ?15, ?16, ?17, ?18, ?19) \
             RETURNING number",
        )
        .bind(operation.id.to_string())
        .bind(document)
        .bind(operation.name.to_string())
        .bind(operation.backend.as_str())
        .bind(operation.target.kind.as_str())
        .bind(operation.target.id.as_str())
        .bind(operation.target.name.as_str())
        .bind(operation.priority)
        .bind(operation.check)
        .bind(operation.requested_by.as_deref())
        .bind(operation.requested_at.as_microsecond())
        .bind(State::Waiting.as_str())
        .bind(batch.now)
        .bind(operation.attempt.get())
        .bind(self.idempotency_key.as_deref())
        .bind(&self.request_mac[..])
        .bind(self.terms.lease.map(|lease| rows::signed(lease.as_secs())))
        .bind(self.terms.retries.map(|(attempts, _)| attempts))
        .bind(self.terms.retries.map(|(_, backoff)| rows::signed(backoff.as_secs())))
        .fetch_one(&mut batch.connection)
        .await?;
        sqlx::query(
            "INSERT INTO ledger (operation, revision, attempt, state, source, at) VALUES (?1, 1, ?2, ?3, ?4, ?5)",
        )
        .bind(number)
        .bind(operation.attempt.get())
        .bind(State::Waiting.as_str())
        .bind(FRONTEND)
        .bind(batch.now)
        .execute(&mut batch.connection)
        .await?;
        sqlx::query("INSERT INTO attempts (operation, attempt) VALUES (?1, ?2)")
            .bind(number)
            .bind(operation.attempt.get())
            .execute(&mut batch.connection)
            .await?;
        Ok(number)
    }
}

/// An Operation that may have changed the target of a plan since that was made, or still may.
async fn overtaken_by(batch: &mut Batch, approved: &Approved) -> Result<Option<OperationId>, StoreError> {
    // Attempts are numbered as they are granted, so that no clock is asked which of two came first.
    let found: Option<String> = sqlx::query_scalar(
        "SELECT o.id FROM operations plan \
         JOIN attempts made ON made.operation = plan.number AND made.attempt = ?2 \
         JOIN operations o ON o.number IN (\
             SELECT operation FROM attempts WHERE granted > made.granted UNION \
             SELECT number FROM operations WHERE state IN ('waiting', 'queued', 'claimed', 'running')) \
         WHERE plan.id = ?1 AND o.target_kind = plan.target_kind AND o.target_id = plan.target_id AND NOT o.dry_run \
         ORDER BY o.number DESC LIMIT 1",
    )
    .bind(approved.operation.to_string())
    .bind(approved.attempt.get())
    .fetch_optional(&mut batch.connection)
    .await?;
    found.map(|id| rows::id(&id)).transpose()
}

/// The Operation that an idempotency key stands for.
pub(in crate::store) const EARLIER: &str =
    "SELECT id, attempt, state, published, request_mac FROM operations WHERE idempotency_key = ?1";

/// What a request gets whose idempotency key is known.
pub(in crate::store) fn repeated(
    row: &sqlx::sqlite::SqliteRow,
    request_mac: &[u8],
) -> Result<Submitted, StoreError> {
    // Both sides were made with a key that nobody else knows, so how long this takes tells nothing.
    if row.try_get::<&[u8], _>("request_mac")? != request_mac {
        return Ok(Submitted::Conflict);
    }
    Ok(Submitted::Accepted(Accepted {
        id: rows::id(row.try_get("id")?)?,
        attempt: rows::attempt(row.try_get("attempt")?)?,
        state: rows::state(row.try_get("state")?)?,
        published: row.try_get("published")?,
        repeated: true,
    }))
}
