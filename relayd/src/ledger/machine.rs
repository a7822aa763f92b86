//! The life of an Operation as one pure function: [`step`].
//!
//! `waiting` → `queued` → `claimed` → `running` → an end; from an end, except success, a further attempt leads
//! back to `waiting`. Messages about an attempt can be late, repeated, lost or crossed, so each event is met in
//! every state, and what comes too late changes nothing.

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, State};

use super::claim::claim;
use super::effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
use super::ends::{canceled, declare_lost, end, lease_over};
use super::event::LedgerEvent;
use super::retry::{retry_due, retry_requested};
use super::status::{CancelRequested, OperationStatus, Phase, phase};

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
            Ok(retry_due(status, *after))
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
            let reason = canceled(by, " before it started");
            Ok(end(status, Outcome::Canceled, &reason, FRONTEND))
        }
        Phase::Held if status.cancel.is_some() => Err(Refusal::AlreadyCanceled),
        Phase::Held => {
            let requested = by.map(|by| format!(" by {by}")).unwrap_or_default();
            let by = by.map(str::to_owned);
            let node = status.node.as_ref().map_or("its node", NodeName::as_str);
            let message = format!("cancellation requested{requested}; stopping on {node}");
            let row = LedgerRow {
                state: status.state,
                reason: Some(Code::CanceledByRequest.because(message)),
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
