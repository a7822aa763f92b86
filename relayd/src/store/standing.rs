//! Moving an Operation: loads where it stands, asks the machine, writes down what the machine says.

use aegir_protocol::id::OperationId;
use aegir_protocol::message::{Cancel, Grant, ToNode};
use aegir_protocol::state::State;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::batch::Batch;
use super::{StoreError, rows};
use crate::ledger::machine::CancelRequested;
use crate::ledger::{Effect, Event, LedgerRow, Refusal, Standing, step};

/// An Operation's row, as far as decisions need it.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) number: i64,
    pub(super) id: OperationId,
    pub(super) revision: i64,
    pub(super) standing: Standing,
}

const BY_ID: &str = "SELECT number, id, revision, attempt, state, node, published, cancel_requested, cancel_by \
                     FROM operations WHERE id = ?1";
const BY_NUMBER: &str = "SELECT number, id, revision, attempt, state, node, published, cancel_requested, \
                         cancel_by FROM operations WHERE number = ?1";

impl Current {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        let node: Option<String> = row.try_get("node")?;
        let cancel = row.try_get::<bool, _>("cancel_requested")?;
        Ok(Self {
            number: row.try_get("number")?,
            id: rows::id(row.try_get("id")?)?,
            revision: row.try_get("revision")?,
            standing: Standing {
                attempt: rows::attempt(row.try_get("attempt")?)?,
                state: rows::state(row.try_get("state")?)?,
                node: node.map(|node| rows::parse("node", &node)).transpose()?,
                published: row.try_get("published")?,
                cancel: cancel
                    .then(|| row.try_get("cancel_by").map(|by| CancelRequested { by }))
                    .transpose()?,
            },
        })
    }
}

impl Batch {
    /// The Operation with this id.
    pub(super) async fn current(&mut self, id: OperationId) -> Result<Option<Current>, StoreError> {
        let row = sqlx::query(BY_ID).bind(id.to_string()).fetch_optional(&mut self.connection).await?;
        row.as_ref().map(Current::read).transpose()
    }

    /// Lets an event happen to an Operation, with all that follows from it for others.
    pub(super) async fn happen(
        &mut self,
        current: &mut Current,
        event: &Event,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let released = match self.advance(current, event).await? {
            Ok(released) => released,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if released {
            for number in self.release(current.number).await? {
                let row = sqlx::query(BY_NUMBER).bind(number).fetch_one(&mut self.connection).await?;
                let mut waiter = Current::read(&row)?;
                // Taking locks is never refused, and releases none.
                let _ = self.advance(&mut waiter, &Event::LocksTaken).await?;
            }
        }
        Ok(Ok(()))
    }

    /// One step of the machine. Says whether the Operation lets go of its locks.
    async fn advance(
        &mut self,
        current: &mut Current,
        event: &Event,
    ) -> Result<Result<bool, Refusal>, StoreError> {
        let next = match step(&current.standing, event) {
            Ok(next) => next,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let mut released = false;
        let mut row = None;
        for effect in next.effects {
            match effect {
                Effect::Publish => self.effects.publish = true,
                Effect::Grant { node } => {
                    let (operation, attempt) = (current.id, next.standing.attempt);
                    let grant = Grant { operation, attempt, granted: true, reason: None };
                    self.effects.messages.push((node, ToNode::Grant(grant)));
                }
                Effect::Refuse { node, attempt, reason } => {
                    let operation = current.id;
                    let refusal = Grant { operation, attempt, granted: false, reason: Some(reason) };
                    self.effects.messages.push((node, ToNode::Grant(refusal)));
                }
                Effect::SendCancel { node, by } => {
                    let (operation, attempt) = (current.id, next.standing.attempt);
                    let cancel = Cancel { operation, attempt, requested_by: by };
                    self.effects.messages.push((node, ToNode::Cancel(cancel)));
                }
                Effect::ReleaseLocks => released = true,
                Effect::Record(said) => row = Some(said),
            }
        }
        let changed = next.standing != current.standing;
        current.standing = next.standing;
        if let Some(row) = row {
            self.record(current, &row).await?;
        } else if changed {
            self.store_standing(current).await?;
        }
        Ok(Ok(released))
    }

    async fn record(&mut self, current: &mut Current, row: &LedgerRow) -> Result<(), StoreError> {
        current.revision += 1;
        let standing = &current.standing;
        let (code, message) = row.reason.as_ref().map(|reason| (&reason.code, &reason.message)).unzip();
        sqlx::query(
            "INSERT INTO ledger (operation, revision, attempt, state, reason_code, reason_message, source, at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .bind(current.number)
        .bind(current.revision)
        .bind(standing.attempt.get())
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
        self.store_standing(current).await?;
        self.store_attempt(current, row).await
    }

    async fn store_standing(&mut self, current: &Current) -> Result<(), StoreError> {
        let standing = &current.standing;
        sqlx::query(
            "UPDATE operations SET node = ?2, published = ?3, \
             published_at = CASE WHEN ?3 AND NOT published THEN ?4 ELSE published_at END, \
             cancel_requested = ?5, cancel_by = ?6 WHERE number = ?1",
        )
        .bind(current.number)
        .bind(standing.node.as_ref().map(|node| node.as_str()))
        .bind(standing.published)
        .bind(self.now)
        .bind(standing.cancel.is_some())
        .bind(standing.cancel.as_ref().and_then(|cancel| cancel.by.as_deref()))
        .execute(&mut self.connection)
        .await?;
        self.effects.changed.insert(current.id);
        Ok(())
    }

    async fn store_attempt(&mut self, current: &Current, row: &LedgerRow) -> Result<(), StoreError> {
        let statement = match row.state {
            State::Waiting | State::Queued => return Ok(()),
            State::Claimed => "UPDATE attempts SET node = ?3 WHERE operation = ?1 AND attempt = ?2",
            State::Running => {
                "UPDATE attempts SET node = ?3, started_at = coalesce(started_at, ?4) \
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
            .bind(current.standing.attempt.get())
            .bind(current.standing.node.as_ref().map(|node| node.as_str()))
            .bind(self.now)
            .bind(row.state.as_str())
            .bind(code)
            .bind(message)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }
}
