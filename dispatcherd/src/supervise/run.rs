//! Stays with a running attempt: ships its transcript and notices its end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Lease;
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::Outcome;
use aegir_service::io_error::is_transient;
use aegir_transcript::finished;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::end::{end, forget, report, retry_write};
use super::prepare::{StartResult, prepare};
use crate::journal::Tombstone;
use crate::launch;
use crate::leftovers::{Leftovers, end_leftovers};
use crate::node::Node;
use crate::ship::{ShipError, Shipped, Upload};
use crate::slots::SlotEvent;

/// How long after an error a transcript is looked at again, and how often when no runner writes any more.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
const LOOKS: u32 = 3;

/// Starts an attempt that relayd has granted, and stays with it to its end. What can't be started now is asked for
/// again, and for its lease with it: until there is room it may be called off.
pub async fn start(node: Arc<Node>, attempt: AttemptId, frontend: FrontendName, lease: Option<Lease>) {
    let child = match prepare(&node, attempt, lease).await {
        StartResult::Running(child) => {
            tracing::info!(
                operation_id = %attempt.operation, attempt = attempt.attempt.get(), process = child.id(),
                "runner started"
            );
            Some(child)
        }
        StartResult::StartedBefore => None,
        StartResult::NotNow => return node.happened(SlotEvent::NotStarted(attempt)).await,
        StartResult::Rejected(reason) => {
            node.happened(SlotEvent::RunnerGone(attempt)).await;
            return report(node, attempt, frontend, Outcome::Rejected, reason).await;
        }
    };
    supervise(node, attempt, frontend, child).await;
}

/// Stays with an attempt that an earlier process has started.
pub async fn adopt(node: Arc<Node>, attempt: AttemptId, frontend: FrontendName) {
    tracing::info!(operation_id = %attempt.operation, attempt = attempt.attempt.get(), "attempt found again");
    supervise(node, attempt, frontend, None).await;
}

async fn supervise(node: Arc<Node>, attempt: AttemptId, frontend: FrontendName, child: Option<Child>) {
    let transcript = node.journal.directory(attempt).transcript();
    let mut upload = node.uploads.register(attempt, transcript);
    let gone = CancellationToken::new();
    let watch = async {
        let left = watch_runner(&node, attempt, child).await;
        gone.cancel();
        node.happened(SlotEvent::RunnerGone(attempt)).await;
        left
    };
    let shipping = async {
        tokio::select! {
            biased;
            () = forgotten(&node, attempt, &gone) => None,
            shipped = ship(&node, attempt, &frontend, &mut upload, &gone) => Some(shipped),
        }
    };
    let (left, shipped) = tokio::join!(watch, shipping);
    let left = left.map(|left| format!("; {left}")).unwrap_or_default();
    let receipted = upload.receipted.load(Ordering::Relaxed);
    drop(upload);
    let Some(shipped) = shipped else { return forget(node, attempt, frontend, receipted, &left).await };
    match shipped {
        Ok(Shipped::Complete(finished)) => {
            tracing::info!(
                operation_id = %attempt.operation, attempt = attempt.attempt.get(),
                outcome = finished.outcome.as_str(), code = finished.reason.code, "attempt over"
            );
            end(&node, Tombstone::ended(attempt, finished.outcome, finished.reason)).await;
        }
        Ok(Shipped::Unfinished) => {
            let message = format!(
                "the runner on node {} ended without finishing its transcript; what became of its Task is not \
                 known{left}. Look at the target before you try again, and at runner.log in the attempt's directory",
                node.planning.node
            );
            report(node, attempt, frontend, Outcome::Lost, Code::RunnerGone.because(message)).await;
        }
        Ok(Shipped::Nothing) => {
            let message = format!(
                "the runner on node {} ended before it began; see runner.log in the attempt's directory",
                node.planning.node
            );
            report(node, attempt, frontend, Outcome::Rejected, Code::RunnerFailed.because(message)).await;
        }
        Err(error) => {
            let message =
                format!("the transcript on node {} can't be read: {error}{left}", node.planning.node);
            report(node, attempt, frontend, Outcome::Lost, Code::RunnerFailed.because(message)).await;
        }
    }
}

/// Ships the transcript. One that can't be read now may be readable later; only when its runner is gone
/// and it still can't be read, it is given up.
async fn ship(
    node: &Arc<Node>,
    attempt: AttemptId,
    frontend: &FrontendName,
    upload: &mut Upload,
    gone: &CancellationToken,
) -> Result<Shipped, ShipError> {
    let directory = node.journal.directory(attempt);
    let mut looks = 0;
    loop {
        let error = match node.shipper.ship(attempt, frontend, &directory, upload, gone).await {
            Ok(shipped) => return Ok(shipped),
            Err(ShipError::Unknown(unknown)) => {
                tracing::error!(
                    operation_id = %attempt.operation, attempt = attempt.attempt.get(), reason = %unknown.reason,
                    path = %directory.path().display(),
                    "relayd does not know an attempt; its transcript is kept here and not sent any more"
                );
                retry_write(node, attempt, move |node| node.journal.mark_unknown(&unknown)).await;
                upload.wait_until_known().await;
                continue;
            }
            Err(error) => error,
        };
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "a transcript can't be shipped"
        );
        if gone.is_cancelled() && !error.is_transient() {
            looks += 1;
        }
        if looks >= LOOKS {
            return Err(error);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until an operator lets go of the transcript, which counts when its runner is gone.
async fn forgotten(node: &Arc<Node>, attempt: AttemptId, gone: &CancellationToken) {
    gone.cancelled().await;
    let forget = node.journal.directory(attempt).forget();
    while let Err(error) = node.shipper.watcher.wait_for_file(&forget).await {
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
            "`dispatcherd spool forget` can't be waited for; it is tried again"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until no runner is left. One that has not finished is cleared up after.
async fn watch_runner(node: &Arc<Node>, attempt: AttemptId, child: Option<Child>) -> Option<Leftovers> {
    let directory = node.journal.directory(attempt);
    let mut status = None;
    if let Some(mut child) = child {
        status = launch::ended(&mut child).await;
    }
    // Another one may have it: this process was restarted between starting it and noticing it.
    aegir_attempt::lock::gone(&directory).await;
    let transcript = directory.transcript();
    let has_finished = async || loop {
        let transcript = transcript.clone();
        match node.on_disk(move |_| finished(&transcript)).await {
            Err(error) if is_transient(&error) => tokio::time::sleep(LOOK_AGAIN).await,
            // One that can't be read is cleared up after like one that is not finished.
            found => return matches!(found, Ok(Some(_))),
        }
    };
    if has_finished().await {
        return None;
    }
    tracing::error!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(),
        status = status.map(|status| status.to_string()),
        "a runner is gone and has not finished its transcript"
    );
    let left = end_leftovers(attempt, &directory).await;
    if !left.nothing() {
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), %left,
            "what a dead runner has started may still run"
        );
    }
    Some(left)
}
