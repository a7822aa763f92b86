//! The input of the ledger's machine: what happened.

use std::time::Duration;

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason};

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerEvent {
    /// Every lock that it needs is held for it.
    LocksTaken,
    /// The broker has confirmed an attempt.
    Published { attempt: Attempt },
    /// An attempt was published a while ago, and no node has claimed it or says that it has it.
    Unclaimed { attempt: Attempt },
    /// A node asks whether it may start an attempt.
    Claimed {
        attempt: Attempt,
        /// Who asks.
        node: NodeName,
        /// When it asked, by its own clock: goes back with the grant.
        asked_at: BootTime,
        /// Whether the backend is paused, so that nothing may start.
        paused: bool,
    },
    /// What an attempt is to carry out was planned before another Operation changed the target.
    PlanOvertaken {
        attempt: Attempt,
        /// Which Operation has come between.
        other: OperationId,
    },
    /// The transcript begins: the runner is alive.
    Started {
        attempt: Attempt,
        /// Whose runner.
        node: NodeName,
    },
    /// The transcript ends.
    Finished {
        attempt: Attempt,
        /// Whose runner.
        node: NodeName,
        /// How it ended.
        outcome: Outcome,
        reason: Reason,
    },
    /// A node reports the end of an attempt whose transcript has none.
    Reported {
        attempt: Attempt,
        /// Who says so.
        node: NodeName,
        /// How it ended.
        outcome: Outcome,
        reason: Reason,
    },
    /// The last lease of an attempt, and the margin after it, are over.
    LeaseOver {
        attempt: Attempt,
        /// How many grants there had been when the time began.
        grants: u32,
    },
    /// The time before a further attempt is over.
    BackoffOver { attempt: Attempt },
    /// Somebody wants a further attempt.
    RetryRequested {
        by: Option<String>,
        /// Whether Tasks that are finished run again, too.
        from_start: bool,
    },
    /// The manifest asks for a further attempt.
    RetryDue {
        /// How long from now.
        after: Duration,
    },
    /// An operator says that an attempt is lost: nobody is going to hear of it again.
    DeclaredLost { by: Option<String> },
    /// A heartbeat lists an attempt, waiting or running.
    Seen {
        attempt: Attempt,
        /// On which node.
        node: NodeName,
    },
    /// Somebody calls the Operation off.
    CancelRequested { by: Option<String> },
}
