//! Consumes heartbeats from `aegir.status`.

use std::sync::Arc;

use aegir_amqp::Deliveries;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{CatalogWanted, Heartbeat, ToNode, decode};
use aegir_protocol::name::NodeName;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::catalogs::Catalogs;
use crate::dispatch::{Control, republish};
use crate::ledger::LedgerEvent;
use crate::nodes::Nodes;
use crate::store::write::ApplyEvents;
use crate::store::{Store, StoreError};

/// The most heartbeats that wait to be read.
pub const PREFETCH: u16 = 64;
/// The most heartbeats whose attempts wait to be looked up in the store. What comes beyond that is left out: the next
/// heartbeat says it again.
const LOOK_UPS: usize = 64;

/// Takes heartbeats.
pub struct Heartbeats {
    /// Where it is remembered which nodes are alive.
    pub nodes: Arc<Nodes>,
    /// Where it is read what should have stopped.
    pub store: Store,
    /// What backends can do, as far as that has arrived.
    pub catalogs: Arc<Catalogs>,
    /// The way to the nodes.
    pub control: Control,
    /// There may be room for Operations.
    pub outbox: Arc<Notify>,
}

/// What a heartbeat lists, waiting or running, and whether its node has let go of anything.
struct Listed {
    node: NodeName,
    attempts: Vec<AttemptId>,
    released: bool,
}

impl Heartbeats {
    /// Takes heartbeats until `cancel`. A node is heard whatever the store does: one that stalls must not make nodes
    /// silent.
    pub async fn run(self, deliveries: Deliveries, cancel: CancellationToken) {
        let (listed, look_ups) = mpsc::channel(LOOK_UPS);
        let work = async { tokio::join!(self.observe_all(deliveries, listed), self.look_up_all(look_ups)) };
        let _ = cancel.run_until_cancelled(work).await;
    }

    async fn observe_all(&self, mut deliveries: Deliveries, listed: mpsc::Sender<Listed>) {
        while let Some(delivery) = deliveries.recv().await {
            match decode::<Heartbeat>(&delivery.body()) {
                Ok(heartbeat) => {
                    // It was settled on arrival.
                    let _ = delivery.ack().await;
                    self.observe(heartbeat, &listed);
                }
                Err(error) => {
                    if let Err(error) = delivery.dead_letter(error.code().as_str(), &error.to_string()).await
                    {
                        tracing::debug!(error = %error, "a heartbeat that can't be read could not be dead-lettered");
                    }
                }
            }
        }
    }

    /// Nothing here waits for anything.
    fn observe(&self, heartbeat: Heartbeat, listed: &mpsc::Sender<Listed>) {
        if self.lacks_catalog(&heartbeat) {
            let wanted = CatalogWanted { backend: heartbeat.backend.clone() };
            self.control.send(heartbeat.node.clone(), ToNode::CatalogWanted(wanted));
        }
        let attempts: Vec<_> = heartbeat.waiting.iter().chain(&heartbeat.running).copied().collect();
        let node = heartbeat.node.clone();
        let released = self.nodes.observe(heartbeat);
        self.outbox.notify_one();
        if !attempts.is_empty() || released {
            // Left out when the store is far behind. What was let go of is remembered.
            let _ = listed.try_send(Listed { node, attempts, released });
        }
    }

    async fn look_up_all(&self, mut look_ups: mpsc::Receiver<Listed>) {
        while let Some(listed) = look_ups.recv().await {
            if let Err(error) = self.repeat_cancels(&listed).await {
                tracing::warn!(error = %error, "cancellations could not be sent again");
            }
            if listed.released
                && let Err(error) = republish(&self.store, &self.nodes, Vec::new()).await
            {
                tracing::warn!(error = %error, "released attempts could not be dispatched again yet");
            }
        }
    }

    /// A cancel may get lost, and a node that was given up may come back. If a node has what it should have
    /// stopped, it is told again.
    async fn repeat_cancels(&self, Listed { node, attempts, .. }: &Listed) -> Result<(), StoreError> {
        let seen = |attempt: AttemptId| {
            (attempt, LedgerEvent::Seen { attempt: attempt.attempt, node: node.clone() })
        };
        let seen: Vec<_> = self.store.to_stop(attempts).await?.into_iter().map(seen).collect();
        if seen.is_empty() { Ok(()) } else { self.store.write(ApplyEvents(seen)).await }
    }

    /// A store that is new, or came back from an old copy, has not what the node has told. Nodes of one backend may have
    /// different roles, and what relayd has is that of the one who told it last, as long as that one is alive.
    fn lacks_catalog(&self, heartbeat: &Heartbeat) -> bool {
        let Some(digest) = &heartbeat.catalog else { return false };
        self.catalogs.get(&heartbeat.backend).is_none_or(|known| {
            let last = known.node == heartbeat.node || self.nodes.silent(&known.node);
            last && known.digest != *digest
        })
    }
}

#[cfg(test)]
mod tests {
    use aegir_protocol::id::{Attempt, OperationId};

    use super::*;
    use crate::nodes::heard::tests::heartbeat;

    #[tokio::test]
    async fn a_store_that_stalls_makes_no_node_silent() {
        let directory = tempfile::tempdir().unwrap();
        // Nobody looks anything up, and nobody writes.
        let (store, _writer) = Store::open(&directory.path().join("relayd.db")).await.unwrap();
        let heartbeats = Heartbeats {
            nodes: Arc::default(),
            store,
            catalogs: Arc::default(),
            control: Control::new().0,
            outbox: Arc::default(),
        };
        let (listed, _look_ups) = mpsc::channel(1);
        for number in 0..PREFETCH {
            let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
            let heartbeat = Heartbeat { running: vec![attempt], ..heartbeat(&format!("n{number}")) };
            heartbeats.observe(heartbeat, &listed);
        }
        let alive = heartbeats.nodes.alive(&"main".parse().unwrap());
        assert_eq!(alive.len(), usize::from(PREFETCH));
    }
}
