//! Accepting an Operation.

use aegir_protocol::operation::Operation;
use aegir_protocol::request::Accepted;
use aegir_protocol::state::State;

use super::approve::PlanOf;
use crate::ledger::{FRONTEND, LedgerEvent, OperationStatus, RetryPolicy};
use crate::store::accepted::{EARLIER, Submitted, repeated};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::rows;
use crate::store::status::OperationRow;
use crate::store::writer::WriteCommand;

/// Stores an Operation, and takes its locks if they are free.
#[derive(Debug)]
pub struct Submit {
    /// The Operation, secrets sealed.
    pub operation: Operation,
    /// How it is tried again.
    pub retry_policy: RetryPolicy,
    /// The same key with the same request gives the same Operation.
    pub idempotency_key: Option<String>,
    /// What the request is compared by.
    pub request_mac: [u8; 32],
}

impl WriteCommand for Submit {
    type Answer = Submitted;

    async fn apply(&self, batch: &mut Batch) -> Result<Submitted, StoreError> {
        if let Some(key) = &self.idempotency_key {
            let earlier = sqlx::query(EARLIER).bind(key).fetch_optional(&mut batch.connection).await?;
            if let Some(earlier) = earlier {
                return repeated(&earlier, &self.request_mac);
            }
        }
        let operation = &self.operation;
        let plan = match &operation.approved {
            Some(approved) => batch.plan_of(approved).await?,
            None => None,
        };
        if let Some(plan) = plan {
            if let Some(earlier) = batch.approved_before(plan).await? {
                return Ok(earlier);
            }
            if let Some(other) = batch.overtaken_by(plan, None).await? {
                return Ok(Submitted::Overtaken(other));
            }
        }
        let number = self.insert(batch, plan).await?;
        batch.request_locks(number, operation.priority, &operation.locks).await?;
        let status = OperationStatus::new(self.retry_policy);
        let mut current = OperationRow { number, id: operation.id, revision: 1, status };
        if batch.take_locks(number).await? {
            // Taking locks is never refused.
            let _ = batch.apply_event(&mut current, &LedgerEvent::LocksTaken).await?;
        }
        batch.effects.changed.insert(operation.id);
        Ok(Submitted::Accepted(Accepted {
            id: operation.id,
            attempt: current.status.attempt,
            state: current.status.state,
            published: current.status.published,
            repeated: false,
        }))
    }
}

impl Submit {
    async fn insert(&self, batch: &mut Batch, plan: Option<PlanOf>) -> Result<i64, StoreError> {
        let operation = &self.operation;
        let document = serde_json::to_string(operation)
            .map_err(|error| StoreError::Unreadable(format!("the Operation itself: {error}")))?;
        let number: i64 = sqlx::query_scalar(
            "INSERT INTO operations (id, document, name, backend, target_kind, target_id, target_name, \
             priority, dry_run, requested_by, requested_at, state, revision, changed_at, attempt, published, \
             cancel_requested, idempotency_key, request_mac, lease_seconds, retry_attempts, \
             retry_backoff_seconds, approves, approves_attempt) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 1, ?13, ?14, 0, 0, ?15, ?16, ?17, ?18, ?19, \
             ?20, ?21) \
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
        .bind(operation.is_dry_run())
        .bind(operation.requested_by.as_deref())
        .bind(operation.requested_at.as_microsecond())
        .bind(State::Waiting.as_str())
        .bind(batch.now)
        .bind(operation.attempt.get())
        .bind(self.idempotency_key.as_deref())
        .bind(&self.request_mac[..])
        .bind(self.retry_policy.lease.map(|lease| rows::signed(lease.as_secs())))
        .bind(self.retry_policy.retries.map(|(attempts, _)| attempts))
        .bind(self.retry_policy.retries.map(|(_, backoff)| rows::signed(backoff.as_secs())))
        .bind(plan.map(|plan| plan.dry_run))
        .bind(plan.map(|plan| plan.attempt))
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
