//! What happens to Operations outside their transcripts.

use aegir_protocol::id::{AttemptId, OperationId};

use crate::ledger::{Event, Refusal};
use crate::store::batch::Batch;
use crate::store::{Command, StoreError};

/// Somebody calls an Operation off.
#[derive(Debug)]
pub struct Cancel {
    /// Which.
    pub id: OperationId,
    /// Who.
    pub by: Option<String>,
}

/// What became of a wish to call an Operation off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Canceled {
    /// It has ended, or its node is told.
    Accepted,
    /// It can't be.
    Refused(Refusal),
    /// There is none with this id.
    Unknown,
}

impl Command for Cancel {
    type Answer = Canceled;

    async fn apply(&self, batch: &mut Batch) -> Result<Canceled, StoreError> {
        let Some(mut current) = batch.current(self.id).await? else { return Ok(Canceled::Unknown) };
        let event = Event::CancelRequested { by: self.by.clone() };
        Ok(match batch.happen(&mut current, &event).await? {
            Ok(()) => Canceled::Accepted,
            Err(refusal) => Canceled::Refused(refusal),
        })
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
