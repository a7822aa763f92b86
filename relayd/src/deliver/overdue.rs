//! What should have happened by now: a queued Operation claimed, a cancelled attempt stopped.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ingest::nodes::Nodes;
use crate::ledger::Event;
use crate::store::write::Happened;
use crate::store::{Store, StoreError};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(15);
/// How long a published Operation may stay unclaimed before it is published again.
const UNCLAIMED: Duration = Duration::from_secs(60);

/// Looks for what is overdue.
pub struct Overdue {
    /// Where it is read, and written.
    pub store: Store,
    /// What nodes say that they have.
    pub nodes: Arc<Nodes>,
}

impl Overdue {
    /// Looks until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + INTERVAL, INTERVAL);
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

    /// Publishes again what nobody claims, although a node of its backend is alive and has nothing to do: its
    /// message is lost. Without such a node it just waits in the backend's queue, and would fill it.
    async fn publish_again(&self) -> Result<(), StoreError> {
        let before =
            Timestamp::now().as_microsecond() - i64::try_from(UNCLAIMED.as_micros()).unwrap_or(i64::MAX);
        let unclaimed = self.store.unclaimed(before).await?;
        if unclaimed.is_empty() {
            return Ok(());
        }
        let listed = self.nodes.attempts();
        let lost: Vec<_> = unclaimed
            .into_iter()
            .filter(|(attempt, backend)| !listed.contains(attempt) && self.nodes.idle(backend))
            .map(|(attempt, _)| (attempt, Event::Unclaimed { attempt: attempt.attempt }))
            .collect();
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!(count = lost.len(), "published Operations were not claimed; they are published again");
        self.store.write(Happened(lost)).await
    }
}
