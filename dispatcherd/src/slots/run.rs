//! The loop that feeds events to [`Slots`] and performs their effects.

use std::sync::Arc;
use std::time::Instant;

use aegir_attempt::lease::boot_time;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Claim;
use aegir_protocol::name::FrontendName;
use aegir_service::systemd::WatchdogHandle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};

use super::state::CLAIM_AGAIN;
use super::{Occupancy, SlotEffect, SlotEvent, Slots};
use crate::node::Node;
use crate::supervise;

/// So often this loop turns when nothing happens, for the watchdog.
const IDLE: Duration = Duration::from_secs(10);

/// Takes events, one after the other, until the node stops. Nothing here waits for anything else: what has
/// to be done is done in tasks, whose results come back as events.
pub(crate) async fn run(
    node: Arc<Node>,
    mut slots: Slots,
    mut events: mpsc::Receiver<SlotEvent>,
    occupancy: watch::Sender<Occupancy>,
    heartbeat: WatchdogHandle,
) {
    loop {
        let now = Instant::now();
        let tick = slots.next_tick().map_or(IDLE, |tick| tick.saturating_duration_since(now).min(IDLE));
        let event = tokio::select! {
            () = node.cancel.cancelled() => break,
            event = events.recv() => match event {
                Some(event) => event,
                None => break,
            },
            () = tokio::time::sleep(tick) => SlotEvent::Tick,
        };
        heartbeat.beat();
        for effect in slots.on(event, Instant::now()) {
            perform(&node, effect);
        }
        occupancy.send_if_modified(|told| {
            let current = slots.occupancy();
            let news = *told != current;
            *told = current;
            news
        });
    }
    heartbeat.retire();
}

fn perform(node: &Arc<Node>, effect: SlotEffect) {
    let here = Arc::clone(node);
    match effect {
        SlotEffect::Claim(attempt, frontend) => node.spawn("claim", claim(here, attempt, frontend)),
        SlotEffect::Start(attempt, frontend, lease) => {
            node.spawn("attempt", supervise::start(here, attempt, frontend, lease));
        }
        SlotEffect::Renew(attempt, lease) => node.spawn("renew", supervise::renew(here, attempt, lease)),
        SlotEffect::CloseRefused(attempt, reason) => {
            node.spawn("close", supervise::close_refused(here, attempt, reason));
        }
        SlotEffect::Report(attempt, frontend, outcome, reason) => {
            node.spawn("report", supervise::report(here, attempt, frontend, outcome, reason));
        }
        SlotEffect::Cancel(cancel) => node.spawn("cancel", supervise::cancel(here, cancel)),
    }
}

async fn claim(node: Arc<Node>, attempt: AttemptId, frontend: FrontendName) {
    let send = async {
        node.frontends.up().await;
        let claim = Claim {
            operation: attempt.operation,
            attempt: attempt.attempt,
            node: node.planning.node.clone(),
            asked_at: boot_time(),
        };
        match node.frontends.send(&frontend, &claim).await {
            Ok(sent) => sent.confirmed().await,
            Err(error) => Err(error),
        }
    };
    match timeout(CLAIM_AGAIN, send).await {
        Ok(Ok(())) => {
            tracing::debug!(operation_id = %attempt.operation, attempt = attempt.attempt.get(), "claim sent");
        }
        Ok(Err(error)) => {
            tracing::warn!(
                operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
                "a claim was not confirmed; it is sent again"
            );
            node.happened(SlotEvent::ClaimLost(attempt)).await;
        }
        // It is due again in this moment.
        Err(_) => {}
    }
}
