//! What happens to Operations outside their transcripts.

use aegir_protocol::id::{AttemptId, OperationId};

use crate::ledger::{Event, Refusal};
use crate::store::batch::Batch;
use crate::store::{Command, StoreError};

/// Somebody wants something of an Operation: to call it off, to try it again, to give it up.
#[derive(Debug)]
pub struct Ask {
    /// Which.
    pub id: OperationId,
    /// What.
    pub event: Event,
}

/// What became of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is so, or on its way.
    Accepted,
    /// It can't be.
    Refused(Refusal),
    /// There is none with this id.
    Unknown,
}

impl Command for Ask {
    type Answer = Asked;

    async fn apply(&self, batch: &mut Batch) -> Result<Asked, StoreError> {
        let Some(mut current) = batch.current(self.id).await? else { return Ok(Asked::Unknown) };
        Ok(match batch.happen(&mut current, &self.event).await? {
            Ok(()) => Asked::Accepted,
            Err(refusal) => Asked::Refused(refusal),
        })
    }
}

/// Lets the deadlines of these begin anew: after a start nobody knows how much of them has passed.
#[derive(Debug)]
pub struct Remind(pub Vec<OperationId>);

impl Command for Remind {
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
pub struct Happened(pub Vec<(AttemptId, Event)>);

impl Command for Happened {
    type Answer = ();

    async fn apply(&self, batch: &mut Batch) -> Result<(), StoreError> {
        for (attempt, event) in &self.0 {
            if let Some(mut current) = batch.current(attempt.operation).await? {
                // Only a person's wish is refused.
                let _ = batch.happen(&mut current, event).await?;
            }
        }
        Ok(())
    }
}
