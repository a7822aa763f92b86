//! The output of the ledger's machine: what the store has to do.

use std::time::Duration;

use aegir_protocol::id::Attempt;
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Reason, State};

use super::status::OperationStatus;

/// Who a ledger row names when relayd itself moved an Operation.
pub const RELAYD: &str = "relayd";
/// Who a ledger row names when a person or program asked for the move.
pub const FRONTEND: &str = "frontend";

/// What has to be done about it. Rows are written in the same transaction, messages go after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEffect {
    /// Hand the current attempt to the broker.
    Publish,
    /// Tell a node that it may start the current attempt, or go on with it.
    Grant {
        node: NodeName,
        /// When it asked.
        asked_at: BootTime,
    },
    /// Tell a node that it may not start an attempt.
    Refuse { node: NodeName, attempt: Attempt, reason: Reason },
    /// Tell a node to stop an attempt.
    SendCancel {
        node: NodeName,
        attempt: Attempt,
        /// Who asked.
        by: Option<String>,
    },
    /// Let go of every lock, held or waited for.
    ReleaseLocks,
    /// Wait for every lock, and take them if they are free.
    RequestLocks,
    /// Let go of what earlier attempts have finished, so that the next one does it again.
    ForgetDone,
    /// Let [`LedgerEvent::RetryDue`] happen next, in the same transaction.
    ScheduleRetry {
        /// How long to wait.
        after: Duration,
    },
    /// Write a row of the ledger.
    Record(LedgerRow),
}

/// A row of the ledger; the store adds revision and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerRow {
    /// The state from now on; the same as before where only the reason is new.
    pub state: State,
    pub reason: Option<Reason>,
    /// Who said so.
    pub source: String,
}

/// Why a person's wish can't be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has ended.
    AlreadyEnded(State),
    /// Somebody has asked before.
    AlreadyCanceled,
    /// It has not ended.
    NotEnded(State),
    /// It has succeeded.
    NothingToRetry,
    /// No node has it.
    NotStarted(State),
}

/// What an event leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Where the Operation stands now.
    pub status: OperationStatus,
    /// What has to be done.
    pub effects: Vec<LedgerEffect>,
}
