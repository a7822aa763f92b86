//! What should have happened by now: a queued Operation claimed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aegir_protocol::id::AttemptId;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ingest::nodes::Nodes;
use crate::ledger::Event;
use crate::store::write::Happened;
use crate::store::{Store, StoreError};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a published Operation may stay unclaimed, while a node could take it, before it is published again. Meanwhile
/// its place is taken from others, so this is not long; a message that comes twice does no harm.
const UNCLAIMED: Duration = Duration::from_secs(30);
/// How many are looked at for each backend. The rest has its turn when these are claimed.
const AT_ONCE: usize = 1000;

/// Looks for what is overdue.
pub struct Overdue {
    /// Where it is read, and written.
    pub store: Store,
    /// What nodes say that they have.
    pub nodes: Arc<Nodes>,
    /// Since when each has been waited for, by a clock that nobody sets.
    since: HashMap<AttemptId, Instant>,
}

impl Overdue {
    /// Nothing is overdue yet.
    #[must_use]
    pub fn new(store: Store, nodes: Arc<Nodes>) -> Self {
        Self { store, nodes, since: HashMap::new() }
    }

    /// Looks until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.publish_again().await {
                tracing::warn!(error = %error, "what is overdue could not be looked for");
            }
        }
    }

    /// Publishes again what nobody claims, although a node of its backend is alive and takes what is in its queue: its
    /// message is lost, or waits on a node that is not going to start it. Without such a node it just waits in the
    /// backend's queue, and would fill it.
    async fn publish_again(&mut self) -> Result<(), StoreError> {
        let mut unclaimed = Vec::new();
        for backend in self.nodes.hungry_backends() {
            unclaimed.extend(self.store.unclaimed(&backend, AT_ONCE).await?);
        }
        let listed = self.nodes.attempts();
        let unclaimed =
            unclaimed.into_iter().map(|handed| handed.attempt).filter(|attempt| !listed.contains(attempt));
        let before = std::mem::take(&mut self.since);
        let now = Instant::now();
        let mut lost = self.nodes.left_behind();
        for attempt in unclaimed {
            let since = before.get(&attempt).copied().unwrap_or(now);
            if now.duration_since(since) < UNCLAIMED {
                self.since.insert(attempt, since);
            } else {
                lost.push(attempt);
            }
        }
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(count = lost.len(), "published Operations were not claimed; they are published again");
        let unclaimed = |attempt: AttemptId| (attempt, Event::Unclaimed { attempt: attempt.attempt });
        self.store.write(Happened(lost.into_iter().map(unclaimed).collect())).await
    }
}
