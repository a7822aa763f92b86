//! Where an Operation stands, as far as decisions depend on it.

use std::time::Duration;

use aegir_protocol::id::Attempt;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::State;

use super::event::LedgerEvent;

/// Where an Operation stands: all that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationStatus {
    /// The current attempt.
    pub attempt: Attempt,
    /// Its state.
    pub state: State,
    /// Who holds the grant for the current attempt.
    pub node: Option<NodeName>,
    /// Whether the broker has confirmed the current attempt.
    pub published: bool,
    /// Set once somebody has called off what a node holds.
    pub cancel: Option<CancelRequested>,
    /// How often the current attempt was granted: tells the end of its last lease from that of an earlier one.
    pub grants: u32,
    /// Set while it waits for its time, and not yet for its locks.
    pub backoff: Option<Duration>,
    /// What its manifest says about trying again. Never changes.
    pub retry_policy: RetryPolicy,
}

/// What an Operation's manifest says about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long an attempt may go on without word from relayd. Only what can be tried again without harm has one.
    pub lease: Option<Duration>,
    /// How often it is tried at most when attempts fail, and how long after the first failure.
    pub retries: Option<(u32, Duration)>,
}

/// That somebody called an Operation off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CancelRequested {
    /// Who, if they said so.
    pub by: Option<String>,
}

impl OperationStatus {
    /// Where a new Operation stands, before its locks were looked at.
    #[must_use]
    pub fn new(retry_policy: RetryPolicy) -> Self {
        Self {
            attempt: Attempt::FIRST,
            state: State::Waiting,
            node: None,
            published: false,
            cancel: None,
            grants: 0,
            backoff: None,
            retry_policy,
        }
    }

    /// What is going to happen if nothing else happens before, and how long after it was last granted or began to
    /// wait.
    #[must_use]
    pub fn deadline(&self) -> Option<(Duration, LedgerEvent)> {
        let attempt = self.attempt;
        match (phase(self.state), self.backoff, self.retry_policy.lease) {
            (Phase::Open, Some(after), _) => Some((after, LedgerEvent::BackoffOver { attempt })),
            (Phase::Held, _, Some(lease)) => {
                Some((lease, LedgerEvent::LeaseOver { attempt, grants: self.grants }))
            }
            (Phase::Open | Phase::Held | Phase::Ended, _, _) => None,
        }
    }
}

/// Whether a state is before, at or after a node's work.
#[derive(PartialEq, Eq)]
pub(super) enum Phase {
    /// Nobody has it.
    Open,
    /// A node has it.
    Held,
    /// It is over.
    Ended,
}

pub(super) fn phase(state: State) -> Phase {
    match state {
        State::Waiting | State::Queued => Phase::Open,
        State::Claimed | State::Running => Phase::Held,
        State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => Phase::Ended,
    }
}
