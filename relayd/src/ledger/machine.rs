//! The life of an Operation as one pure function: [`step`].
//!
//! `waiting` → `queued` → `claimed` → `running` → an end; from an end, except success, a further attempt leads
//! back to `waiting`. Messages about an attempt can be late, repeated, lost or crossed, so each event is met in
//! every state, and what comes too late changes nothing.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason, State};

use super::effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
use super::ends::{canceled, declare_lost, end, lease_over, next_attempt, retry_requested};
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

/// Where an Operation stands after an event, and what has to be done about it.
///
/// # Errors
/// When the event is a person's wish that can't be met. Events from nodes are never refused in this way: what
/// comes too late, twice or from the wrong node changes nothing, and a claim gets its answer as an effect.
pub fn step(status: &OperationStatus, event: &LedgerEvent) -> Result<Transition, Refusal> {
    let same = || Ok(Transition { status: status.clone(), effects: Vec::new() });
    let current = |attempt: &Attempt| *attempt == status.attempt;
    match event {
        LedgerEvent::LocksTaken => match status.state {
            State::Waiting => Ok(queue(status)),
            State::Queued
            | State::Claimed
            | State::Running
            | State::Succeeded
            | State::Failed
            | State::Canceled
            | State::Rejected
            | State::Lost => same(),
        },
        LedgerEvent::Published { attempt } if current(attempt) => Ok(Transition {
            status: OperationStatus { published: true, ..status.clone() },
            effects: Vec::new(),
        }),
        LedgerEvent::Unclaimed { attempt } if current(attempt) && status.state == State::Queued => {
            Ok(Transition {
                status: OperationStatus { published: false, ..status.clone() },
                effects: vec![LedgerEffect::Publish],
            })
        }
        LedgerEvent::Claimed { attempt, node, asked_at, paused } => {
            Ok(claim(status, *attempt, node, *asked_at, *paused))
        }
        LedgerEvent::PlanOvertaken { attempt, other }
            if current(attempt) && status.state == State::Queued =>
        {
            let message = format!("Operation {other} on the same target has come after the plan: plan again");
            Ok(end(status, Outcome::Rejected, &Code::PlanChanged.because(message), RELAYD))
        }
        LedgerEvent::Started { attempt, node } if current(attempt) && may_speak(status, node) => {
            Ok(start(status, node))
        }
        LedgerEvent::Finished { attempt, node, outcome, reason }
            if current(attempt) && may_speak(status, node) =>
        {
            Ok(end(status, *outcome, reason, node.as_str()))
        }
        #[cfg(feature = "chaos-bugs")]
        LedgerEvent::LeaseOver { attempt, .. }
            if current(attempt) && crate::bugs::Bug::ForgetTheLease.is_awake() =>
        {
            Ok(lease_over(status))
        }
        LedgerEvent::LeaseOver { attempt, grants }
            if current(attempt) && *grants == status.grants && status.retry_policy.lease.is_some() =>
        {
            Ok(lease_over(status))
        }
        LedgerEvent::BackoffOver { attempt } if current(attempt) && status.backoff.is_some() => {
            Ok(Transition {
                status: OperationStatus { backoff: None, ..status.clone() },
                effects: vec![LedgerEffect::RequestLocks],
            })
        }
        LedgerEvent::RetryRequested { by, from_start } => retry_requested(status, by.as_deref(), *from_start),
        LedgerEvent::RetryDue { after } if phase(status.state) == Phase::Ended => {
            let (attempt, next) = (status.attempt, status.attempt.next());
            let when = match after.as_secs() {
                0 => "follows".to_owned(),
                seconds => format!("begins in {seconds} s at the earliest"),
            };
            let message = format!("attempt {attempt} ended as {}; attempt {next} {when}", status.state);
            Ok(next_attempt(status, Code::TriedAgain.because(message), RELAYD, Some(*after)))
        }
        LedgerEvent::DeclaredLost { by } => declare_lost(status, by.as_deref()),
        // Only a transcript can say that everything went well.
        LedgerEvent::Reported { outcome: Outcome::Succeeded, .. } => same(),
        LedgerEvent::Reported { attempt, node, outcome, reason }
            if current(attempt) && may_speak(status, node) =>
        {
            Ok(end(status, *outcome, reason, node.as_str()))
        }
        LedgerEvent::Seen { attempt, node } => Ok(Transition {
            effects: should_stop(status, *attempt, node).into_iter().collect(),
            status: status.clone(),
        }),
        LedgerEvent::CancelRequested { by } => cancel(status, by.as_deref()),
        // About an attempt that is not the current one, or from a node that does not have it.
        LedgerEvent::Published { .. }
        | LedgerEvent::Unclaimed { .. }
        | LedgerEvent::PlanOvertaken { .. }
        | LedgerEvent::Started { .. }
        | LedgerEvent::Finished { .. }
        | LedgerEvent::Reported { .. }
        | LedgerEvent::LeaseOver { .. }
        | LedgerEvent::BackoffOver { .. }
        | LedgerEvent::RetryDue { .. } => same(),
    }
}

/// Whether what a node says about the current attempt counts. Of a queued one any node may say that it can't
/// make Tasks of it; and should relayd's store be an older copy that does not know of the claim, then a runner
/// that is alive is a fact, and granting the attempt to somebody else would run it twice.
fn may_speak(status: &OperationStatus, node: &NodeName) -> bool {
    match status.state {
        State::Queued => true,
        State::Claimed | State::Running => status.node.as_ref() == Some(node),
        State::Waiting
        | State::Succeeded
        | State::Failed
        | State::Canceled
        | State::Rejected
        | State::Lost => false,
    }
}

fn queue(status: &OperationStatus) -> Transition {
    let row = LedgerRow { state: State::Queued, reason: None, source: RELAYD.to_owned() };
    Transition {
        status: OperationStatus { state: State::Queued, published: false, ..status.clone() },
        effects: vec![LedgerEffect::Record(row), LedgerEffect::Publish],
    }
}

fn claim(
    status: &OperationStatus,
    attempt: Attempt,
    node: &NodeName,
    asked_at: BootTime,
    paused: bool,
) -> Transition {
    let refuse = |reason: Reason| LedgerEffect::Refuse { node: node.clone(), attempt, reason };
    let unchanged = |effects| Transition { status: status.clone(), effects };
    if attempt != status.attempt {
        let message = format!("attempt {attempt} is not the current one, which is {}", status.attempt);
        return unchanged(vec![refuse(Code::ClaimRefused.because(message))]);
    }
    match status.state {
        State::Waiting => {
            let message = "the Operation waits for its locks and was not handed out".to_owned();
            unchanged(vec![refuse(Code::ClaimRefused.because(message))])
        }
        // The node lets go of it without a report; it is published again when the pause is over.
        State::Queued if paused => Transition {
            status: OperationStatus { published: false, ..status.clone() },
            effects: vec![refuse(
                Code::BackendPaused.because("the backend is paused; it is handed out again later"),
            )],
        },
        State::Queued => {
            let row = LedgerRow { state: State::Claimed, reason: None, source: node.to_string() };
            Transition {
                status: OperationStatus {
                    state: State::Claimed,
                    node: Some(node.clone()),
                    published: true,
                    grants: status.grants + 1,
                    ..status.clone()
                },
                effects: vec![
                    LedgerEffect::Record(row),
                    LedgerEffect::Grant { node: node.clone(), asked_at },
                ],
            }
        }
        State::Claimed | State::Running => match (&status.node, &status.cancel) {
            (Some(holder), None) if holder == node => Transition {
                status: OperationStatus { grants: status.grants.saturating_add(1), ..status.clone() },
                effects: vec![LedgerEffect::Grant { node: node.clone(), asked_at }],
            },
            // The node may have started it after all, if this claim has crossed our grant. So it stays the
            // node's until the node says how it ended, and the answer is the cancel alone: a node that is
            // refused lets go of the attempt without a report, and the Operation would never end.
            (Some(holder), Some(cancel)) if holder == node => unchanged(vec![LedgerEffect::SendCancel {
                node: node.clone(),
                attempt,
                by: cancel.by.clone(),
            }]),
            #[cfg(feature = "chaos-bugs")]
            (Some(_), None) if crate::bugs::Bug::GrantTwice.is_awake() => {
                unchanged(vec![LedgerEffect::Grant { node: node.clone(), asked_at }])
            }
            (Some(_) | None, _) => {
                let holder = status.node.as_ref().map_or("another node", NodeName::as_str);
                unchanged(vec![refuse(Code::ClaimRefused.because(format!("{holder} has this attempt")))])
            }
        },
        State::Canceled => unchanged(vec![refuse(canceled(None, ""))]),
        State::Succeeded | State::Failed | State::Rejected | State::Lost => {
            let message = format!("the Operation has ended: {}", status.state);
            unchanged(vec![refuse(Code::AlreadyEnded.because(message))])
        }
    }
}

fn start(status: &OperationStatus, node: &NodeName) -> Transition {
    if status.state == State::Running {
        return Transition { status: status.clone(), effects: Vec::new() };
    }
    let row = LedgerRow { state: State::Running, reason: None, source: node.to_string() };
    Transition {
        status: OperationStatus {
            state: State::Running,
            node: Some(node.clone()),
            published: true,
            ..status.clone()
        },
        effects: vec![LedgerEffect::Record(row)],
    }
}

fn cancel(status: &OperationStatus, by: Option<&str>) -> Result<Transition, Refusal> {
    match phase(status.state) {
        Phase::Ended => Err(Refusal::AlreadyEnded(status.state)),
        // A node may have it in its journal by now. It is going to ask before it starts, and be refused.
        Phase::Open => {
            let reason = canceled(by, " before it was started");
            Ok(end(status, Outcome::Canceled, &reason, FRONTEND))
        }
        Phase::Held if status.cancel.is_some() => Err(Refusal::AlreadyCanceled),
        Phase::Held => {
            let by = by.map(str::to_owned);
            let row = LedgerRow {
                state: status.state,
                reason: Some(canceled(by.as_deref(), "; the node is told to stop it")),
                source: FRONTEND.to_owned(),
            };
            let attempt = status.attempt;
            let send =
                status.node.clone().map(|node| LedgerEffect::SendCancel { node, attempt, by: by.clone() });
            let status = OperationStatus { cancel: Some(CancelRequested { by }), ..status.clone() };
            Ok(Transition {
                status,
                effects: std::iter::once(LedgerEffect::Record(row)).chain(send).collect(),
            })
        }
    }
}

/// The order to stop, for a node that still has what it should not have: what was called off, of which the first
/// order may be lost, or an attempt that was given up while the node was silent.
fn should_stop(status: &OperationStatus, attempt: Attempt, node: &NodeName) -> Option<LedgerEffect> {
    let stop = |by| Some(LedgerEffect::SendCancel { node: node.clone(), attempt, by });
    if attempt < status.attempt || (attempt == status.attempt && status.state == State::Lost) {
        return stop(Some(format!("{RELAYD}, which has given this attempt up")));
    }
    let held =
        attempt == status.attempt && phase(status.state) == Phase::Held && status.node.as_ref() == Some(node);
    let cancel = status.cancel.as_ref().filter(|_| held)?;
    stop(cancel.by.clone())
}
