//! Doing what [`Slots`] decides.

use std::sync::Arc;
use std::time::Instant;

use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Claim;
use aegir_protocol::name::FrontendName;
use aegir_service::systemd::Heartbeat;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};

use super::state::CLAIM_AGAIN;
use super::{Census, Effect, Event, Slots};
use crate::attempt;
use crate::lease::boot_time;
use crate::node::Node;

/// So often this loop turns when nothing happens, for the watchdog.
const IDLE: Duration = Duration::from_secs(10);

/// Takes events, one after the other, until the node stops. Nothing here waits for anything else: what has
/// to be done is done in tasks, whose results come back as events.
pub async fn run(
    node: Arc<Node>,
    mut slots: Slots,
    mut events: mpsc::Receiver<Event>,
    census: watch::Sender<Census>,
    heartbeat: Heartbeat,
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
            () = tokio::time::sleep(tick) => Event::Tick,
        };
        heartbeat.beat();
        for effect in slots.on(event, Instant::now()) {
            perform(&node, effect);
        }
        census.send_if_modified(|told| {
            let current = slots.census();
            let news = *told != current;
            *told = current;
            news
        });
    }
    heartbeat.retire();
}

fn perform(node: &Arc<Node>, effect: Effect) {
    let here = Arc::clone(node);
    match effect {
        Effect::Claim(attempt, frontend) => node.spawn("claim", claim(here, attempt, frontend)),
        Effect::Start(attempt, frontend, lease) => {
            node.spawn("attempt", attempt::start(here, attempt, frontend, lease));
        }
        Effect::Renew(attempt, lease) => node.spawn("renew", attempt::renew(here, attempt, lease)),
        Effect::Bury(attempt, reason) => node.spawn("bury", attempt::bury(here, attempt, reason)),
        Effect::Report(attempt, frontend, outcome, reason) => {
            node.spawn("report", attempt::report(here, attempt, frontend, outcome, reason));
        }
        Effect::CallOff(cancel) => node.spawn("call off", attempt::call_off(here, cancel)),
    }
}

async fn claim(node: Arc<Node>, attempt: AttemptId, frontend: FrontendName) {
    let send = async {
        node.frontends.up().await;
        let claim = Claim {
            operation: attempt.operation,
            attempt: attempt.attempt,
            node: node.terms.node.clone(),
            asked_at: boot_time(),
        };
        match node.frontends.tell(&frontend, &claim).await {
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
            node.happened(Event::ClaimLost(attempt)).await;
        }
        // It is due again in this moment.
        Err(_) => {}
    }
}
