//! Events that come from people, timers and the broker, and not from a transcript.

use aegir_protocol::id::{AttemptId, OperationId};

use crate::ledger::{LedgerEvent, Refusal};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::writer::WriteCommand;

/// Somebody wants something of an Operation: to call it off, to try it again, to give it up.
#[derive(Debug)]
pub struct ApplyAction {
    pub id: OperationId,
    pub event: LedgerEvent,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActionOutcome {
    /// It is so, or on its way.
    Accepted,
    /// It can't be.
    Refused(Refusal),
    /// There is none with this id.
    Unknown,
}

impl WriteCommand for ApplyAction {
    type Answer = ActionOutcome;

    async fn apply(&self, batch: &mut Batch) -> Result<ActionOutcome, StoreError> {
        let Some(mut current) = batch.current(self.id).await? else { return Ok(ActionOutcome::Unknown) };
        Ok(match batch.apply_event(&mut current, &self.event).await? {
            Ok(()) => ActionOutcome::Accepted,
            Err(refusal) => ActionOutcome::Refused(refusal),
        })
    }
}

/// Lets the deadlines of these begin anew: after a start nobody knows how much of them has passed.
#[derive(Debug)]
pub struct RestartDeadlines(pub Vec<OperationId>);

impl WriteCommand for RestartDeadlines {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for id in &self.0 {
            let Some(current) = batch.current(*id).await? else { continue };
            batch.expect(&current);
        }
        Ok(())
    }
}

/// Something that happened to attempts, and that nobody waits to hear the answer to.
#[derive(Debug)]
pub struct ApplyEvents(pub Vec<(AttemptId, LedgerEvent)>);

impl WriteCommand for ApplyEvents {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for (attempt, event) in &self.0 {
            if let Some(mut current) = batch.current(attempt.operation).await? {
                // Only a person's wish is refused.
                let _ = batch.apply_event(&mut current, event).await?;
            }
        }
        Ok(())
    }
}
