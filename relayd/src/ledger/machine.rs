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

use super::effect::{Effect, FRONTEND, LedgerRow, RELAYD, Refusal, Step};
use super::ends::{again, canceled, declare_lost, end, lease_over, retry_requested};
use super::event::Event;

/// Where an Operation stands: all that decisions depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
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
    pub terms: Terms,
}

/// What an Operation's manifest says about trying again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
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

impl Standing {
    /// Where a new Operation stands, before its locks were looked at.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self {
            attempt: Attempt::FIRST,
            state: State::Waiting,
            node: None,
            published: false,
            cancel: None,
            grants: 0,
            backoff: None,
            terms,
        }
    }

    /// What is going to happen if nothing else happens before, and how long after it was last granted or began to
    /// wait.
    #[must_use]
    pub fn deadline(&self) -> Option<(Duration, Event)> {
        let attempt = self.attempt;
        match (phase(self.state), self.backoff, self.terms.lease) {
            (Phase::Open, Some(after), _) => Some((after, Event::BackoffOver { attempt })),
            (Phase::Held, _, Some(lease)) => Some((lease, Event::LeaseOver { attempt, grants: self.grants })),
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
pub fn step(standing: &Standing, event: &Event) -> Result<Step, Refusal> {
    let same = || Ok(Step { standing: standing.clone(), effects: Vec::new() });
    let current = |attempt: &Attempt| *attempt == standing.attempt;
    match event {
        Event::LocksTaken => match standing.state {
            State::Waiting => Ok(queue(standing)),
            State::Queued
            | State::Claimed
            | State::Running
            | State::Succeeded
            | State::Failed
            | State::Canceled
            | State::Rejected
            | State::Lost => same(),
        },
        Event::Published { attempt } if current(attempt) => {
            Ok(Step { standing: Standing { published: true, ..standing.clone() }, effects: Vec::new() })
        }
        Event::Unclaimed { attempt } if current(attempt) && standing.state == State::Queued => Ok(Step {
            standing: Standing { published: false, ..standing.clone() },
            effects: vec![Effect::Publish],
        }),
        Event::Claimed { attempt, node, asked_at, paused } => {
            Ok(claim(standing, *attempt, node, *asked_at, *paused))
        }
        Event::PlanOvertaken { attempt, other } if current(attempt) && standing.state == State::Queued => {
            let message = format!("Operation {other} on the same target has come after the plan: plan again");
            Ok(end(standing, Outcome::Rejected, &Code::PlanChanged.because(message), RELAYD))
        }
        Event::Started { attempt, node } if current(attempt) && may_speak(standing, node) => {
            Ok(start(standing, node))
        }
        Event::Finished { attempt, node, outcome, reason }
            if current(attempt) && may_speak(standing, node) =>
        {
            Ok(end(standing, *outcome, reason, node.as_str()))
        }
        #[cfg(feature = "chaos-bugs")]
        Event::LeaseOver { attempt, .. }
            if current(attempt) && crate::bugs::Bug::ForgetTheLease.is_awake() =>
        {
            Ok(lease_over(standing))
        }
        Event::LeaseOver { attempt, grants }
            if current(attempt) && *grants == standing.grants && standing.terms.lease.is_some() =>
        {
            Ok(lease_over(standing))
        }
        Event::BackoffOver { attempt } if current(attempt) && standing.backoff.is_some() => Ok(Step {
            standing: Standing { backoff: None, ..standing.clone() },
            effects: vec![Effect::LineUp],
        }),
        Event::RetryRequested { by, from_start } => retry_requested(standing, by.as_deref(), *from_start),
        Event::RetryDue { after } if phase(standing.state) == Phase::Ended => {
            let (attempt, next) = (standing.attempt, standing.attempt.next());
            let when = match after.as_secs() {
                0 => "follows".to_owned(),
                seconds => format!("begins in {seconds} s at the earliest"),
            };
            let message = format!("attempt {attempt} ended as {}; attempt {next} {when}", standing.state);
            Ok(again(standing, Code::TriedAgain.because(message), RELAYD, Some(*after)))
        }
        Event::DeclaredLost { by } => declare_lost(standing, by.as_deref()),
        // Only a transcript can say that everything went well.
        Event::Reported { outcome: Outcome::Succeeded, .. } => same(),
        Event::Reported { attempt, node, outcome, reason }
            if current(attempt) && may_speak(standing, node) =>
        {
            Ok(end(standing, *outcome, reason, node.as_str()))
        }
        Event::Seen { attempt, node } => Ok(Step {
            effects: should_stop(standing, *attempt, node).into_iter().collect(),
            standing: standing.clone(),
        }),
        Event::CancelRequested { by } => cancel(standing, by.as_deref()),
        // About an attempt that is not the current one, or from a node that does not have it.
        Event::Published { .. }
        | Event::Unclaimed { .. }
        | Event::PlanOvertaken { .. }
        | Event::Started { .. }
        | Event::Finished { .. }
        | Event::Reported { .. }
        | Event::LeaseOver { .. }
        | Event::BackoffOver { .. }
        | Event::RetryDue { .. } => same(),
    }
}

/// Whether what a node says about the current attempt counts. Of a queued one any node may say that it can't
/// make Tasks of it; and should relayd's store be an older copy that does not know of the claim, then a runner
/// that is alive is a fact, and granting the attempt to somebody else would run it twice.
fn may_speak(standing: &Standing, node: &NodeName) -> bool {
    match standing.state {
        State::Queued => true,
        State::Claimed | State::Running => standing.node.as_ref() == Some(node),
        State::Waiting
        | State::Succeeded
        | State::Failed
        | State::Canceled
        | State::Rejected
        | State::Lost => false,
    }
}

fn queue(standing: &Standing) -> Step {
    let row = LedgerRow { state: State::Queued, reason: None, source: RELAYD.to_owned() };
    Step {
        standing: Standing { state: State::Queued, published: false, ..standing.clone() },
        effects: vec![Effect::Record(row), Effect::Publish],
    }
}

fn claim(standing: &Standing, attempt: Attempt, node: &NodeName, asked_at: BootTime, paused: bool) -> Step {
    let refuse = |reason: Reason| Effect::Refuse { node: node.clone(), attempt, reason };
    let unchanged = |effects| Step { standing: standing.clone(), effects };
    if attempt != standing.attempt {
        let message = format!("attempt {attempt} is not the current one, which is {}", standing.attempt);
        return unchanged(vec![refuse(Code::ClaimRefused.because(message))]);
    }
    match standing.state {
        State::Waiting => {
            let message = "the Operation waits for its locks and was not handed out".to_owned();
            unchanged(vec![refuse(Code::ClaimRefused.because(message))])
        }
        // The node lets go of it without a report; it is published again when the pause is over.
        State::Queued if paused => Step {
            standing: Standing { published: false, ..standing.clone() },
            effects: vec![refuse(
                Code::BackendPaused.because("the backend is paused; it is handed out again later"),
            )],
        },
        State::Queued => {
            let row = LedgerRow { state: State::Claimed, reason: None, source: node.to_string() };
            Step {
                standing: Standing {
                    state: State::Claimed,
                    node: Some(node.clone()),
                    published: true,
                    grants: standing.grants + 1,
                    ..standing.clone()
                },
                effects: vec![Effect::Record(row), Effect::Grant { node: node.clone(), asked_at }],
            }
        }
        State::Claimed | State::Running => match (&standing.node, &standing.cancel) {
            (Some(holder), None) if holder == node => Step {
                standing: Standing { grants: standing.grants.saturating_add(1), ..standing.clone() },
                effects: vec![Effect::Grant { node: node.clone(), asked_at }],
            },
            // The node may have started it after all, if this claim has crossed our grant. So it stays the
            // node's until the node says how it ended, and the answer is the cancel alone: a node that is
            // refused lets go of the attempt without a report, and the Operation would never end.
            (Some(holder), Some(cancel)) if holder == node => {
                unchanged(vec![Effect::SendCancel { node: node.clone(), attempt, by: cancel.by.clone() }])
            }
            #[cfg(feature = "chaos-bugs")]
            (Some(_), None) if crate::bugs::Bug::GrantTwice.is_awake() => {
                unchanged(vec![Effect::Grant { node: node.clone(), asked_at }])
            }
            (Some(_) | None, _) => {
                let holder = standing.node.as_ref().map_or("another node", NodeName::as_str);
                unchanged(vec![refuse(Code::ClaimRefused.because(format!("{holder} has this attempt")))])
            }
        },
        State::Canceled => unchanged(vec![refuse(canceled(None, ""))]),
        State::Succeeded | State::Failed | State::Rejected | State::Lost => {
            let message = format!("the Operation has ended: {}", standing.state);
            unchanged(vec![refuse(Code::AlreadyEnded.because(message))])
        }
    }
}

fn start(standing: &Standing, node: &NodeName) -> Step {
    if standing.state == State::Running {
        return Step { standing: standing.clone(), effects: Vec::new() };
    }
    let row = LedgerRow { state: State::Running, reason: None, source: node.to_string() };
    Step {
        standing: Standing {
            state: State::Running,
            node: Some(node.clone()),
            published: true,
            ..standing.clone()
        },
        effects: vec![Effect::Record(row)],
    }
}

fn cancel(standing: &Standing, by: Option<&str>) -> Result<Step, Refusal> {
    match phase(standing.state) {
        Phase::Ended => Err(Refusal::AlreadyEnded(standing.state)),
        // A node may have it in its journal by now. It is going to ask before it starts, and be refused.
        Phase::Open => {
            let reason = canceled(by, " before it was started");
            Ok(end(standing, Outcome::Canceled, &reason, FRONTEND))
        }
        Phase::Held if standing.cancel.is_some() => Err(Refusal::AlreadyCanceled),
        Phase::Held => {
            let by = by.map(str::to_owned);
            let row = LedgerRow {
                state: standing.state,
                reason: Some(canceled(by.as_deref(), "; the node is told to stop it")),
                source: FRONTEND.to_owned(),
            };
            let attempt = standing.attempt;
            let send = standing.node.clone().map(|node| Effect::SendCancel { node, attempt, by: by.clone() });
            let standing = Standing { cancel: Some(CancelRequested { by }), ..standing.clone() };
            Ok(Step { standing, effects: std::iter::once(Effect::Record(row)).chain(send).collect() })
        }
    }
}

/// The order to stop, for a node that still has what it should not have: what was called off, of which the first
/// order may be lost, or an attempt that was given up while the node was silent.
fn should_stop(standing: &Standing, attempt: Attempt, node: &NodeName) -> Option<Effect> {
    let stop = |by| Some(Effect::SendCancel { node: node.clone(), attempt, by });
    if attempt < standing.attempt || (attempt == standing.attempt && standing.state == State::Lost) {
        return stop(Some(format!("{RELAYD}, which has given this attempt up")));
    }
    let held = attempt == standing.attempt
        && phase(standing.state) == Phase::Held
        && standing.node.as_ref() == Some(node);
    let cancel = standing.cancel.as_ref().filter(|_| held)?;
    stop(cancel.by.clone())
}
