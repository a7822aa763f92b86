//! Publishes an Operation again that nobody has claimed in time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aegir_protocol::id::AttemptId;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::quota;
use crate::ledger::LedgerEvent;
use crate::nodes::Nodes;
use crate::store::write::ApplyEvents;
use crate::store::{Store, StoreError};

/// How often it is looked.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a published Operation may stay unclaimed, while a node could take it, before it is published again. Meanwhile
/// its place is taken from others, so this is not long; a message that comes twice does no harm.
const UNCLAIMED: Duration = Duration::from_secs(30);

/// Looks for what is overdue.
pub struct Republisher {
    /// Where it is read, and written.
    pub store: Store,
    /// What nodes say that they have.
    pub nodes: Arc<Nodes>,
    /// Since when each has been waited for, by a clock that nobody sets.
    since: HashMap<AttemptId, Instant>,
}

impl Republisher {
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
        for backend in self.nodes.open_backends() {
            let capacities = self.nodes.capacities(&backend);
            let dispatched = self.store.unclaimed(&backend, quota::looked_at(&capacities)).await?;
            if quota::takes_all(&capacities, &dispatched) {
                unclaimed.extend(dispatched);
            }
        }
        let listed = self.nodes.attempts();
        let unclaimed =
            unclaimed.into_iter().map(|handed| handed.attempt).filter(|attempt| !listed.contains(attempt));
        let now = Instant::now();
        let since = |attempt| (attempt, self.since.get(&attempt).copied().unwrap_or(now));
        self.since = unclaimed.map(since).collect();
        let is_lost = |since: &Instant| now.duration_since(*since) >= UNCLAIMED;
        let lost = self.since.iter().filter(|(_, since)| is_lost(since)).map(|(attempt, _)| *attempt);
        republish(&self.store, &self.nodes, lost.collect()).await?;
        // What could not be written is as late as it was.
        self.since.retain(|_, since| !is_lost(since));
        Ok(())
    }
}

/// Lets these be published again, and all that nodes have left. What can't be written now is tried again, by the next who
/// calls this.
pub(crate) async fn republish(
    store: &Store,
    nodes: &Nodes,
    mut lost: Vec<AttemptId>,
) -> Result<(), StoreError> {
    let left = nodes.left();
    lost.extend(&left);
    if lost.is_empty() {
        return Ok(());
    }
    tracing::warn!(count = lost.len(), "published Operations were not claimed; they are published again");
    let unclaimed = |attempt: AttemptId| (attempt, LedgerEvent::Unclaimed { attempt: attempt.attempt });
    store.write(ApplyEvents(lost.into_iter().map(unclaimed).collect())).await?;
    nodes.published_again(&left);
    Ok(())
}

#[cfg(test)]
mod tests {
    use aegir_protocol::id::{Attempt, OperationId};
    use aegir_protocol::message::Heartbeat;

    use super::*;
    use crate::nodes::heard::tests::heartbeat;

    #[tokio::test]
    async fn what_a_node_has_left_is_kept_while_the_store_can_not_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("relayd.db")).await.unwrap();
        let nodes = Arc::new(Nodes::default());
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        nodes.observe(Heartbeat { waiting: vec![attempt], ..heartbeat("a") });
        assert!(nodes.observe(Heartbeat { accepting: false, ..heartbeat("a") }));
        // Nobody writes any more.
        drop(writer);
        let mut overdue = Republisher::new(store, Arc::clone(&nodes));
        assert!(overdue.publish_again().await.is_err());
        assert_eq!(nodes.left(), [attempt]);
    }
}
