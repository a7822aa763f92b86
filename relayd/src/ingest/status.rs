//! The consumer of heartbeats.

use std::sync::Arc;

use aegir_amqp::Deliveries;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{CatalogWanted, Heartbeat, ToNode, decode};
use tokio_util::sync::CancellationToken;

use super::nodes::Nodes;
use crate::catalogs::Catalogs;
use crate::deliver::Control;
use crate::ledger::Event;
use crate::store::write::Happened;
use crate::store::{Store, StoreError};

/// The most heartbeats that wait to be read.
pub const PREFETCH: u16 = 64;

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
}

impl Heartbeats {
    /// Takes heartbeats until `cancel`.
    pub async fn run(self, mut deliveries: Deliveries, cancel: CancellationToken) {
        loop {
            let delivery = tokio::select! {
                () = cancel.cancelled() => return,
                delivery = deliveries.recv() => delivery,
            };
            let Some(delivery) = delivery else { return };
            match decode::<Heartbeat>(&delivery.body()) {
                Ok(heartbeat) => {
                    // It was settled on arrival.
                    let _ = delivery.done().await;
                    if let Err(error) = self.repeat_cancels(&heartbeat).await {
                        tracing::warn!(error = %error, "nodes can't be told again what to stop");
                    }
                    if self.lacks_catalog(&heartbeat) {
                        let wanted = CatalogWanted { backend: heartbeat.backend.clone() };
                        self.control.tell(heartbeat.node.clone(), ToNode::CatalogWanted(wanted));
                    }
                    self.nodes.hear(heartbeat);
                }
                Err(error) => {
                    if let Err(error) = delivery.bury(error.code().as_str(), &error.to_string()).await {
                        tracing::debug!(error = %error, "a heartbeat that can't be read could not be buried");
                    }
                }
            }
        }
    }

    /// A cancel may get lost, and a node that was given up may come back. If a node has what it should have
    /// stopped, it is told again.
    async fn repeat_cancels(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let listed: Vec<_> = heartbeat.waiting.iter().chain(&heartbeat.running).copied().collect();
        if listed.is_empty() {
            return Ok(());
        }
        let node = &heartbeat.node;
        let seen =
            |attempt: AttemptId| (attempt, Event::Seen { attempt: attempt.attempt, node: node.clone() });
        let seen: Vec<_> = self.store.to_stop(&listed).await?.into_iter().map(seen).collect();
        if seen.is_empty() { Ok(()) } else { self.store.write(Happened(seen)).await }
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
