//! How attempts end, and how a further one follows.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason, State};

use super::effect::{Effect, FRONTEND, LedgerRow, RELAYD, Refusal, Step};
use super::machine::{Phase, Standing, Terms, phase};

/// How often what was lost under a lease is tried at most: a backend that loses everything is not to be given
/// the same for ever.
const LOST_ATTEMPTS: u32 = 5;
/// The longest wait before a further attempt.
const LONGEST_BACKOFF: Duration = Duration::from_secs(24 * 3600);

pub(super) fn end(standing: &Standing, outcome: Outcome, reason: &Reason, source: &str) -> Step {
    let state = State::from(outcome);
    let row = LedgerRow { state, reason: Some(reason.clone()), source: source.to_owned() };
    let effects = [Effect::Record(row), Effect::ReleaseLocks];
    let retry = retry_after(standing, outcome, reason).map(|after| Effect::TryAgain { after });
    Step {
        standing: Standing { state, published: true, backoff: None, ..standing.clone() },
        effects: effects.into_iter().chain(retry).collect(),
    }
}

/// How long after this end a further attempt begins by itself, if one does. What somebody has called off stays
/// where it is, and what somebody must look at.
fn retry_after(standing: &Standing, outcome: Outcome, reason: &Reason) -> Option<Duration> {
    let terms = standing.terms;
    let (attempts, first) = match outcome {
        Outcome::Lost => (terms.lease.map(|_| LOST_ATTEMPTS)?, Duration::ZERO),
        Outcome::Failed if waits_for_somebody(reason) => return None,
        Outcome::Failed => terms.retries?,
        Outcome::Succeeded | Outcome::Canceled | Outcome::Rejected => return None,
    };
    let attempt = standing.attempt.get();
    if standing.cancel.is_some() || attempt >= attempts {
        return None;
    }
    let doubled = first.saturating_mul(1 << (attempt - 1).min(31));
    Some(doubled.min(LONGEST_BACKOFF))
}

/// Whether a further attempt would fail in the same way, or do harm, until somebody has done something about it.
fn waits_for_somebody(reason: &Reason) -> bool {
    [Code::AttentionNeeded, Code::PlanChanged].iter().any(|code| reason.code == code.as_str())
}

pub(super) fn lease_over(standing: &Standing) -> Step {
    if phase(standing.state) != Phase::Held {
        return Step { standing: standing.clone(), effects: Vec::new() };
    }
    let node = standing.node.as_ref().map_or("its node", NodeName::as_str);
    let message = format!(
        "{node} has been silent for longer than the lease of attempt {}, which can't act any more",
        standing.attempt
    );
    end(standing, Outcome::Lost, &Code::LeaseExpired.because(message), RELAYD)
}

pub(super) fn declare_lost(standing: &Standing, by: Option<&str>) -> Result<Step, Refusal> {
    match phase(standing.state) {
        Phase::Ended => Err(Refusal::AlreadyEnded(standing.state)),
        Phase::Open => Err(Refusal::NotStarted(standing.state)),
        Phase::Held => {
            let message =
                format!("{} said that attempt {} is lost", by.unwrap_or("an operator"), standing.attempt);
            // Whoever says so decides, too, whether it is tried again.
            let terms = Terms { lease: None, ..standing.terms };
            let told = Standing { terms, ..standing.clone() };
            let step = end(&told, Outcome::Lost, &Code::DeclaredLost.because(message), FRONTEND);
            Ok(Step { standing: Standing { terms: standing.terms, ..step.standing }, ..step })
        }
    }
}

pub(super) fn retry_requested(
    standing: &Standing,
    by: Option<&str>,
    from_start: bool,
) -> Result<Step, Refusal> {
    match standing.state {
        State::Waiting | State::Queued | State::Claimed | State::Running => {
            Err(Refusal::NotEnded(standing.state))
        }
        State::Succeeded => Err(Refusal::NothingToRetry),
        State::Failed | State::Canceled | State::Rejected | State::Lost => {
            let asked = by.map_or("a further attempt was asked for".to_owned(), |by| {
                format!("{by} asked for a further attempt")
            });
            let message = format!("{asked}; attempt {} ended as {}", standing.attempt, standing.state);
            let mut step = again(standing, Code::TriedAgain.because(message), FRONTEND, None);
            if from_start {
                step.effects.insert(0, Effect::ForgetDone);
            }
            Ok(step)
        }
    }
}

/// The next attempt, with the same input.
pub(super) fn again(standing: &Standing, reason: Reason, source: &str, backoff: Option<Duration>) -> Step {
    let row = LedgerRow { state: State::Waiting, reason: Some(reason), source: source.to_owned() };
    let backoff = backoff.filter(|after| !after.is_zero());
    let line_up = backoff.is_none().then_some(Effect::LineUp);
    Step {
        standing: Standing { attempt: standing.attempt.next(), backoff, ..Standing::new(standing.terms) },
        effects: std::iter::once(Effect::Record(row)).chain(line_up).collect(),
    }
}

pub(super) fn canceled(by: Option<&str>, when: &str) -> Reason {
    let message = match by {
        Some(by) => format!("{by} called it off{when}"),
        None => format!("it was called off{when}"),
    };
    Code::CanceledByRequest.because(message)
}
