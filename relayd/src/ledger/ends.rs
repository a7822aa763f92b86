//! How attempts end.

use aegir_protocol::code::Code;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason, State};

use super::effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
use super::retry::retry_after;
use super::status::{OperationStatus, Phase, RetryPolicy, phase};

pub(super) fn end(status: &OperationStatus, outcome: Outcome, reason: &Reason, source: &str) -> Transition {
    let state = State::from(outcome);
    let row = LedgerRow { state, reason: Some(reason.clone()), source: source.to_owned() };
    let effects = [LedgerEffect::Record(row), LedgerEffect::ReleaseLocks];
    let retry = retry_after(status, outcome, reason).map(|after| LedgerEffect::ScheduleRetry { after });
    Transition {
        status: OperationStatus { state, published: true, backoff: None, ..status.clone() },
        effects: effects.into_iter().chain(retry).collect(),
    }
}

pub(super) fn lease_over(status: &OperationStatus) -> Transition {
    if phase(status.state) != Phase::Held {
        return Transition { status: status.clone(), effects: Vec::new() };
    }
    let node = status.node.as_ref().map_or("its node", NodeName::as_str);
    let message = format!(
        "node {node} was silent for longer than the lease of attempt {}; the attempt has stopped itself",
        status.attempt
    );
    end(status, Outcome::Lost, &Code::LeaseExpired.because(message), RELAYD)
}

pub(super) fn declare_lost(status: &OperationStatus, by: Option<&str>) -> Result<Transition, Refusal> {
    match phase(status.state) {
        Phase::Ended => Err(Refusal::AlreadyEnded(status.state)),
        Phase::Open => Err(Refusal::NotStarted(status.state)),
        Phase::Held => {
            let message = format!("{} declared attempt {} lost", by.unwrap_or("an operator"), status.attempt);
            // Whoever says so decides, too, whether it is tried again.
            let retry_policy = RetryPolicy { lease: None, ..status.retry_policy };
            let told = OperationStatus { retry_policy, ..status.clone() };
            let step = end(&told, Outcome::Lost, &Code::DeclaredLost.because(message), FRONTEND);
            Ok(Transition {
                status: OperationStatus { retry_policy: status.retry_policy, ..step.status },
                ..step
            })
        }
    }
}

pub(super) fn canceled(by: Option<&str>, when: &str) -> Reason {
    let message = match by {
        Some(by) => format!("canceled by {by}{when}"),
        None => format!("canceled{when}"),
    };
    Code::CanceledByRequest.because(message)
}
