//! How attempts end in the journal and towards relayd.

use std::sync::Arc;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{Cancel, Lease, Report};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::{Outcome, Reason};

use crate::journal::{JournalError, PendingReport, Tombstone};
use crate::node::Node;
use crate::slots::SlotEvent;

/// How long after a failure something is tried again that must succeed in the end.
const AGAIN: Duration = Duration::from_secs(5);
/// The same for telling relayd.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// Ends an attempt without a `finished` record: relayd is told until it is certain that it will know.
pub async fn report(
    node: Arc<Node>,
    attempt: AttemptId,
    frontend: FrontendName,
    outcome: Outcome,
    reason: Reason,
) {
    tracing::warn!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(), outcome = outcome.as_str(),
        code = reason.code, message = reason.message, "attempt over"
    );
    let pending = pending_report(&node, attempt, frontend, outcome, reason);
    let kept = pending.clone();
    retry_write(&node, attempt, move |node| node.journal.keep_report(attempt, &kept)).await;
    send_report(node, attempt, pending).await;
}

fn pending_report(
    node: &Node,
    attempt: AttemptId,
    frontend: FrontendName,
    outcome: Outcome,
    reason: Reason,
) -> PendingReport {
    let (operation, attempt, node) = (attempt.operation, attempt.attempt, node.planning.node.clone());
    PendingReport { frontend, report: Report { operation, attempt, node, outcome, reason } }
}

/// Ends an attempt of whose transcript an operator has let go. relayd would wait for the rest of it for ever, so it is
/// told, unless it does not know the attempt.
pub(super) async fn forget(
    node: Arc<Node>,
    attempt: AttemptId,
    frontend: FrontendName,
    receipted: u64,
    left: &str,
) {
    let message = format!(
        "an operator gave up the transcript on node {} (`dispatcherd spool forget`) after relayd had received {receipted} \
         bytes of it; look at those, and at the target, for what its Tasks did{left}",
        node.planning.node
    );
    let reason = Code::SpoolForgotten.because(message);
    tracing::warn!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(), receipted,
        "an operator gave up a transcript"
    );
    let known = !node.journal.directory(attempt).unknown().exists();
    let pending = pending_report(&node, attempt, frontend, Outcome::Lost, reason);
    let kept = pending.clone();
    retry_write(&node, attempt, move |node| node.journal.forget_transcript(attempt, &kept)).await;
    if known {
        send_report(node, attempt, pending).await;
    } else {
        end(&node, Tombstone::ended(attempt, pending.report.outcome, pending.report.reason)).await;
    }
}

/// Tells relayd an end, however often it takes, and buries the attempt.
pub async fn send_report(node: Arc<Node>, attempt: AttemptId, pending: PendingReport) {
    loop {
        node.frontends.up().await;
        let outcome = match node.frontends.send(&pending.frontend, &pending.report).await {
            Ok(sent) => sent.confirmed().await,
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { break };
        tracing::warn!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "a report was not confirmed; it is sent again"
        );
        tokio::time::sleep(REPORT_AGAIN).await;
    }
    end(&node, Tombstone::ended(attempt, pending.report.outcome, pending.report.reason)).await;
}

/// Buries an attempt that relayd did not let this node start.
pub async fn close_refused(node: Arc<Node>, attempt: AttemptId, reason: Option<Reason>) {
    tracing::info!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(),
        code = reason.as_ref().map(|reason| reason.code.as_str()), "claim refused"
    );
    end(&node, Tombstone::refused(attempt, reason)).await;
}

/// Leaves word for a runner that its attempt is called off.
pub async fn cancel(node: Arc<Node>, cancel: Cancel) {
    let attempt = AttemptId { operation: cancel.operation, attempt: cancel.attempt };
    tracing::info!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(),
        requested_by = cancel.requested_by, "cancellation requested"
    );
    let kept = node.on_disk(move |node| node.journal.write_cancel(&cancel)).await;
    if let Err(error) = kept {
        // relayd asks again when a heartbeat shows that it still runs.
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "an attempt could not be canceled"
        );
    }
}

/// Lets a runner know that it may go on.
pub async fn renew(node: Arc<Node>, attempt: AttemptId, lease: Lease) {
    if let Err(error) = node.on_disk(move |node| node.journal.keep_lease(attempt, lease)).await {
        // The next renewal tries again; without one the runner stops when its lease is over.
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "a lease could not be renewed"
        );
    }
}

pub(super) async fn end(node: &Arc<Node>, tombstone: Tombstone) {
    let attempt = tombstone.attempt;
    retry_write(node, attempt, move |node| node.journal.end(&tombstone)).await;
    node.happened(SlotEvent::Over(attempt)).await;
}

/// Writes to the journal until it succeeds: without it the attempt would not end.
pub(super) async fn retry_write(
    node: &Arc<Node>,
    attempt: AttemptId,
    write: impl Fn(&Node) -> Result<(), JournalError> + Send + Sync + 'static,
) {
    let write = Arc::new(write);
    loop {
        let once = Arc::clone(&write);
        let Err(error) = node.on_disk(move |node| once(node)).await else { return };
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "the journal can't be written; it is tried again"
        );
        tokio::time::sleep(AGAIN).await;
    }
}
