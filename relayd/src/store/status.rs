//! Applies a ledger event to an Operation: loads its row, calls the ledger's `step`, writes what that decided.

use std::time::Duration;

use aegir_protocol::id::{AttemptId, OperationId};
use aegir_protocol::message::{Cancel, Grant, Lease, ToNode};
use aegir_protocol::state::State;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::error::StoreError;
use super::rows;
use crate::ledger::CancelRequested;
use crate::ledger::{LedgerEffect, LedgerEvent, LedgerRow, OperationStatus, Refusal, RetryPolicy, step};

/// An Operation's row, as far as decisions need it.
#[derive(Clone, Debug)]
pub(super) struct OperationRow {
    pub(super) number: i64,
    pub(super) id: OperationId,
    pub(super) revision: i64,
    pub(super) status: OperationStatus,
}

const BY_ID: &str = "SELECT number, id, revision, attempt, state, node, published, cancel_requested, cancel_by, \
                     grants, backoff_seconds, lease_seconds, retry_attempts, retry_backoff_seconds \
                     FROM operations WHERE id = ?1";
const BY_NUMBER: &str = "SELECT number, id, revision, attempt, state, node, published, cancel_requested, \
                         cancel_by, grants, backoff_seconds, lease_seconds, retry_attempts, \
                         retry_backoff_seconds FROM operations WHERE number = ?1";

impl OperationRow {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let node: Option<String> = row.try_get("node")?;
        let cancel = row.try_get::<bool, _>("cancel_requested")?;
        let retries: Option<u32> = row.try_get("retry_attempts")?;
        let backoff = rows::seconds("retry_backoff_seconds", row.try_get("retry_backoff_seconds")?)?;
        Ok(Self {
            number: row.try_get("number")?,
            id: rows::id(row.try_get("id")?)?,
            revision: row.try_get("revision")?,
            status: OperationStatus {
                attempt: rows::attempt(row.try_get("attempt")?)?,
                state: rows::state(row.try_get("state")?)?,
                node: node.map(|node| rows::parse("node", &node)).transpose()?,
                published: row.try_get("published")?,
                cancel: cancel
                    .then(|| row.try_get("cancel_by").map(|by| CancelRequested { by }))
                    .transpose()?,
                grants: row.try_get("grants")?,
                backoff: rows::seconds("backoff_seconds", row.try_get("backoff_seconds")?)?,
                retry_policy: RetryPolicy {
                    lease: rows::seconds("lease_seconds", row.try_get("lease_seconds")?)?,
                    retries: retries.zip(backoff),
                },
            },
        })
    }
}

/// What has to follow a step in the same transaction.
#[derive(Debug, Default)]
struct Follows {
    release: bool,
    request_locks: bool,
    try_again: Option<Duration>,
}

impl Batch {
    /// The Operation with this id.
    pub(super) async fn current(&mut self, id: OperationId) -> Result<Option<OperationRow>, StoreError> {
        let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(&mut self.connection).await?;
        row.as_ref().map(OperationRow::read).transpose()
    }

    /// Lets an event happen to an Operation, with all that follows from it for others.
    pub(super) async fn apply_event(
        &mut self,
        current: &mut OperationRow,
        event: &LedgerEvent,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let mut follows = match self.advance(current, event).await? {
            Ok(follows) => follows,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if follows.release {
            for number in self.release(current.number).await? {
                let row = sqlx::query(BY_NUMBER).bind(number).fetch_one(&mut self.connection).await?;
                let mut waiter = OperationRow::read(&row)?;
                // Taking locks is never refused, and releases none.
                let _ = self.advance(&mut waiter, &LedgerEvent::LocksTaken).await?;
            }
        }
        if let Some(after) = follows.try_again
            && let Ok(next) = self.advance(current, &LedgerEvent::RetryDue { after }).await?
        {
            follows = next;
        }
        if follows.request_locks && self.request_locks_again(current.number).await? {
            let _ = self.advance(current, &LedgerEvent::LocksTaken).await?;
        }
        Ok(Ok(()))
    }

    /// One step of the machine. Says what has to follow in the same transaction.
    async fn advance(
        &mut self,
        current: &mut OperationRow,
        event: &LedgerEvent,
    ) -> Result<Result<Follows, Refusal>, StoreError> {
        let next = match step(&current.status, event) {
            Ok(next) => next,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut follows = Follows::default();
        let mut row = None;
        let attempt = AttemptId { operation: current.id, attempt: next.status.attempt };
        for effect in next.effects {
            match effect {
                LedgerEffect::Publish => self.effects.publish = true,
                LedgerEffect::Grant { node, asked_at } => {
                    let AttemptId { operation, attempt } = attempt;
                    let lease = next
                        .status
                        .retry_policy
                        .lease
                        .map(|lease| Lease { asked_at, seconds: lease.as_secs() });
                    let grant = Grant { operation, attempt, granted: true, reason: None, lease };
                    self.effects.messages.push((node, ToNode::Grant(grant)));
                }
                LedgerEffect::Refuse { node, attempt, reason } => {
                    let operation = current.id;
                    let refusal =
                        Grant { operation, attempt, granted: false, reason: Some(reason), lease: None };
                    self.effects.messages.push((node, ToNode::Grant(refusal)));
                }
                LedgerEffect::SendCancel { node, attempt, by } => {
                    let cancel = Cancel { operation: current.id, attempt, requested_by: by };
                    self.effects.messages.push((node, ToNode::Cancel(cancel)));
                }
                LedgerEffect::ReleaseLocks => follows.release = true,
                LedgerEffect::RequestLocks => follows.request_locks = true,
                LedgerEffect::ForgetDone => self.forget_done(current.number, &[]).await?,
                LedgerEffect::ScheduleRetry { after } => follows.try_again = Some(after),
                LedgerEffect::Record(said) => row = Some(said),
            }
        }
        let changed = next.status != current.status;
        // What waits for a node to start it may be followed by another.
        self.effects.publish |= current.status.state == State::Queued && next.status.state != State::Queued;
        current.status = next.status;
        if changed {
            self.expect(current);
        }
        if let Some(row) = row {
            self.record(current, &row).await?;
        } else if changed {
            self.store_status(current).await?;
        }
        Ok(Ok(follows))
    }

    /// What is going to happen to an attempt if nothing else does. Said again with each change: relayd may wait
    /// longer than it has to.
    pub(super) fn expect(&mut self, current: &OperationRow) {
        if let Some((after, event)) = current.status.deadline() {
            let attempt = AttemptId { operation: current.id, attempt: current.status.attempt };
            self.effects.deadlines.push((attempt, after, event));
        }
    }

    async fn record(&mut self, current: &mut OperationRow, row: &LedgerRow) -> Result<(), StoreError> {
        current.revision += 1;
        let status = &current.status;
        let (code, message) = row.reason.as_ref().map(|reason| (&reason.code, &reason.message)).unzip();
        sqlx::query(
            "INSERT INTO ledger (operation, revision, attempt, state, reason_code, reason_message, source, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(current.number)
        .bind(current.revision)
        .bind(status.attempt.get())
        .bind(row.state.as_str())
        .bind(code)
        .bind(message)
        .bind(&row.source)
        .bind(self.now)
        .execute(&mut self.connection)
        .await?;
        sqlx::query(
            "UPDATE operations SET state = ?2, reason_code = ?3, reason_message = ?4, revision = ?5, \
             changed_at = ?6 WHERE number = ?1",
        )
        .bind(current.number)
        .bind(row.state.as_str())
        .bind(code)
        .bind(message)
        .bind(current.revision)
        .bind(self.now)
        .execute(&mut self.connection)
        .await?;
        self.store_status(current).await?;
        self.store_attempt(current, row).await
    }

    async fn store_status(&mut self, current: &OperationRow) -> Result<(), StoreError> {
        let status = &current.status;
        sqlx::query(
            "UPDATE operations SET node = ?2, published = ?3, cancel_requested = ?4, cancel_by = ?5, \
             attempt = ?6, grants = ?7, backoff_seconds = ?8 WHERE number = ?1",
        )
        .bind(current.number)
        .bind(status.node.as_ref().map(|node| node.as_str()))
        .bind(status.published)
        .bind(status.cancel.is_some())
        .bind(status.cancel.as_ref().and_then(|cancel| cancel.by.as_deref()))
        .bind(status.attempt.get())
        .bind(status.grants)
        .bind(status.backoff.map(|after| rows::signed(after.as_secs())))
        .execute(&mut self.connection)
        .await?;
        self.effects.changed.insert(current.id);
        Ok(())
    }

    async fn store_attempt(&mut self, current: &OperationRow, row: &LedgerRow) -> Result<(), StoreError> {
        let statement = match row.state {
            State::Waiting => "INSERT INTO attempts (operation, attempt) VALUES (?1, ?2)",
            State::Queued => return Ok(()),
            State::Claimed => {
                "UPDATE attempts SET node = ?3, granted = coalesce(granted, \
                 (SELECT coalesce(max(granted), 0) + 1 FROM attempts WHERE granted IS NOT NULL)) \
                 WHERE operation = ?1 AND attempt = ?2"
            }
            State::Running => {
                "UPDATE attempts SET node = ?3, started_at = coalesce(started_at, ?4), granted = coalesce(granted, \
                 (SELECT coalesce(max(granted), 0) + 1 FROM attempts WHERE granted IS NOT NULL)) \
                 WHERE operation = ?1 AND attempt = ?2"
            }
            State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => {
                "UPDATE attempts SET node = ?3, ended_at = ?4, outcome = ?5, reason_code = ?6, \
                 reason_message = ?7 WHERE operation = ?1 AND attempt = ?2"
            }
        };
        let (code, message) = row.reason.as_ref().map(|reason| (&reason.code, &reason.message)).unzip();
        sqlx::query(statement)
            .bind(current.number)
            .bind(current.status.attempt.get())
            .bind(current.status.node.as_ref().map(|node| node.as_str()))
            .bind(self.now)
            .bind(row.state.as_str())
            .bind(code)
            .bind(message)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
