//! Whether a further attempt follows, by itself or because somebody asked, and how.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::state::{Outcome, Reason, State};

use super::effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
use super::status::OperationStatus;

/// How often what was lost under a lease is tried at most: a backend that loses everything is not to be given
/// the same for ever.
const LOST_ATTEMPTS: u32 = 5;
/// The longest wait before a further attempt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(24 * 3600);

/// How long after this end a further attempt begins by itself, if one does. What somebody has called off stays
/// where it is, and what somebody must look at.
pub(super) fn retry_after(status: &OperationStatus, outcome: Outcome, reason: &Reason) -> Option<Duration> {
    let retry_policy = status.retry_policy;
    let (attempts, first) = match outcome {
        Outcome::Lost => (retry_policy.lease.map(|_| LOST_ATTEMPTS)?, Duration::ZERO),
        Outcome::Failed if waits_for_somebody(reason) => return None,
        Outcome::Failed => retry_policy.retries?,
        Outcome::Succeeded | Outcome::Canceled | Outcome::Rejected => return None,
    };
    let attempt = status.attempt.get();
    if status.cancel.is_some() || attempt >= attempts {
        return None;
    }
    let doubled = first.saturating_mul(1 << (attempt - 1).min(31));
    Some(doubled.min(LONGEST_BACKOFF))
}

/// Whether a further attempt would fail in the same way, or do harm, until somebody has done something about it.
fn waits_for_somebody(reason: &Reason) -> bool {
    [Code::AttentionNeeded, Code::PlanChanged].iter().any(|code| reason.code == code.as_str())
}

pub(super) fn retry_requested(
    status: &OperationStatus,
    by: Option<&str>,
    from_start: bool,
) -> Result<Transition, Refusal> {
    match status.state {
        State::Waiting | State::Queued | State::Claimed | State::Running => {
            Err(Refusal::NotEnded(status.state))
        }
        State::Succeeded => Err(Refusal::NothingToRetry),
        State::Failed | State::Canceled | State::Rejected | State::Lost => {
            let asked = by.map_or("a further attempt was asked for".to_owned(), |by| {
                format!("{by} asked for a further attempt")
            });
            let message = format!("{asked}; attempt {} ended as {}", status.attempt, status.state);
            let mut step = next_attempt(status, Code::TriedAgain.because(message), FRONTEND, None);
            if from_start {
                step.effects.insert(0, LedgerEffect::ForgetDone);
            }
            Ok(step)
        }
    }
}

/// The further attempt that the manifest asks for.
pub(super) fn retry_due(status: &OperationStatus, after: Duration) -> Transition {
    let (attempt, next) = (status.attempt, status.attempt.next());
    let when = match after.as_secs() {
        0 => "follows".to_owned(),
        seconds => format!("begins in {seconds} s at the earliest"),
    };
    let message = format!("attempt {attempt} ended as {}; attempt {next} {when}", status.state);
    next_attempt(status, Code::TriedAgain.because(message), RELAYD, Some(after))
}

/// The next attempt, with the same input.
fn next_attempt(
    status: &OperationStatus,
    reason: Reason,
    source: &str,
    backoff: Option<Duration>,
) -> Transition {
    let row = LedgerRow { state: State::Waiting, reason: Some(reason), source: source.to_owned() };
    let backoff = backoff.filter(|after| !after.is_zero());
    let line_up = backoff.is_none().then_some(LedgerEffect::RequestLocks);
    Transition {
        status: OperationStatus {
            attempt: status.attempt.next(),
            backoff,
            ..OperationStatus::new(status.retry_policy)
        },
        effects: std::iter::once(LedgerEffect::Record(row)).chain(line_up).collect(),
    }
}
