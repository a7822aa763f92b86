//! Whether a node may start an attempt: the first that claims it is granted it.

use aegir_protocol::code::Code;
use aegir_protocol::id::Attempt;
use aegir_protocol::message::BootTime;
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Reason, State};

use super::effect::{LedgerEffect, LedgerRow, Transition};
use super::ends::canceled;
use super::status::OperationStatus;

pub(super) fn claim(
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
            let message = "the Operation waits for its locks and was not dispatched".to_owned();
            unchanged(vec![refuse(Code::ClaimRefused.because(message))])
        }
        // The node lets go of it without a report; it is published again when the pause is over.
        State::Queued if paused => Transition {
            status: OperationStatus { published: false, ..status.clone() },
            effects: vec![refuse(
                Code::BackendPaused
                    .because("the backend is paused; the Operation is dispatched when the pause ends"),
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
