//! Calling an Operation off, trying it again, giving it up.

use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::problem::Problem;

use super::service::{Operations, no_such_operation};
use crate::ledger::{LedgerEvent, Refusal};
use crate::store::write::{ActionOutcome, ApplyAction};

impl Operations {
    /// Calls an Operation off. What no node has ends at once; otherwise its node is told, and it ends when the
    /// node says so.
    ///
    /// # Errors
    /// When there is none, it has ended, or this was asked for before.
    pub async fn cancel(&self, id: OperationId, by: Option<String>) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::CancelRequested { by: by.map(row_text) }).await
    }

    /// Begins a further attempt at an Operation, with the same input. The earlier ones stay as they are. Tasks that they
    /// have finished are not run again, unless it is to begin from the start or the role has changed.
    ///
    /// # Errors
    /// When there is none, it has not ended, or it has succeeded.
    pub async fn retry(&self, id: OperationId, by: Option<String>, from_start: bool) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::RetryRequested { by: by.map(row_text), from_start }).await
    }

    /// Gives up an attempt of whose node nobody is going to hear again. Should it be heard of all the same, it is
    /// told to stop.
    ///
    /// # Errors
    /// When there is none, it has ended, or no node has it.
    pub async fn lost(&self, id: OperationId, by: Option<String>) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::DeclaredLost { by: by.map(row_text) }).await
    }

    async fn ask(&self, id: OperationId, event: LedgerEvent) -> Result<(), Problem> {
        match self.store.write(ApplyAction { id, event }).await? {
            ActionOutcome::Accepted => Ok(()),
            ActionOutcome::Unknown => Err(no_such_operation(id)),
            ActionOutcome::Refused(refusal) => Err(refused(id, &refusal)),
        }
    }
}

/// Only as much of a text as fits a row that people read.
#[must_use]
pub fn row_text(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(255).collect()
}

/// Why a wish can't be met.
fn refused(id: OperationId, refusal: &Refusal) -> Problem {
    let (code, detail) = match refusal {
        Refusal::AlreadyEnded(state) => (Code::AlreadyEnded, format!("Operation {id} has ended: {state}")),
        Refusal::AlreadyCanceled => (
            Code::AlreadyCanceled,
            format!(
                "cancellation of Operation {id} was requested before; it ends when its node has stopped it"
            ),
        ),
        Refusal::NotEnded(state) => (
            Code::NotEnded,
            format!(
                "Operation {id} is {state}: only one that has ended can be tried again; cancel it first, or \
                 declare it lost if its node is gone"
            ),
        ),
        Refusal::NothingToRetry => (
            Code::NothingToRetry,
            format!("Operation {id} has succeeded: to do the same once more, submit it as a new Operation"),
        ),
        Refusal::NotStarted(state) => (
            Code::NotStarted,
            format!(
                "Operation {id} is {state} and no node has it, so nothing can be lost: cancel it instead"
            ),
        ),
    };
    Problem::new(code, detail)
}
