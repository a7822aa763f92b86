//! Telling nodes: grants, receipts, replays, cancels, catalogs that are missing, echoes.
//!
//! None of these is kept when it can't be sent. Each is said again when it is asked for again: a node repeats
//! its claim, ships from its last receipt, and lists what it runs in its heartbeat.

use aegir_amqp::topology::CONTROL;
use aegir_amqp::{Outgoing, Publisher};
use aegir_protocol::message::{
    Cancel, CatalogWanted, Echo, Grant, Message as _, Receipt, Replay, ToNode, Unknown, encode,
};
use aegir_protocol::name::NodeName;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many messages wait while the broker is slow or away. A few bytes each.
const QUEUE: usize = 4096;
/// How many are under way.
const IN_FLIGHT: usize = 512;

/// A message for a node, on its way there.
type Addressed = (NodeName, ToNode);

/// Tells nodes things. Cheap to clone.
#[derive(Clone)]
pub struct Control(mpsc::Sender<Addressed>);

/// What waits to be sent.
pub struct ControlQueue(mpsc::Receiver<Addressed>);

impl Control {
    /// The two ends.
    #[must_use]
    pub fn new() -> (Self, ControlQueue) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), ControlQueue(receiver))
    }

    /// Sends a message, or drops it if too many wait already.
    pub fn send(&self, node: NodeName, message: ToNode) {
        if self.0.try_send((node, message)).is_err() {
            tracing::debug!(
                "a message for a node is dropped, because too many wait; it will be asked for again"
            );
        }
    }
}

impl ControlQueue {
    /// Sends what waits until `cancel`, and what waits then.
    pub async fn run(mut self, publisher: Publisher, cancel: CancellationToken) {
        let mut confirms = FuturesUnordered::new();
        loop {
            let next = tokio::select! {
                biased;
                Some(()) = confirms.next() => continue,
                next = self.0.recv(), if confirms.len() < IN_FLIGHT => next,
                () = cancel.cancelled(), if !self.0.is_closed() => {
                    self.0.close();
                    continue;
                }
            };
            let Some((node, message)) = next else { break };
            match publisher.send(outgoing(&node, &message)).await {
                Ok(pending) => confirms.push(async move {
                    if let Err(error) = pending.confirmed().await {
                        tracing::warn!(node = %node, error = %error, "a message for a node could not be sent");
                    }
                }),
                Err(error) => tracing::debug!(node = %node, error = %error, "a message for a node could not be sent"),
            }
        }
        while confirms.next().await.is_some() {}
    }
}

fn outgoing(node: &NodeName, message: &ToNode) -> Outgoing {
    let (schema, body) = match message {
        ToNode::Grant(grant) => (Grant::SCHEMA, encode(grant)),
        ToNode::Receipt(receipt) => (Receipt::SCHEMA, encode(receipt)),
        ToNode::Replay(replay) => (Replay::SCHEMA, encode(replay)),
        ToNode::Unknown(unknown) => (Unknown::SCHEMA, encode(unknown)),
        ToNode::Cancel(cancel) => (Cancel::SCHEMA, encode(cancel)),
        ToNode::CatalogWanted(wanted) => (CatalogWanted::SCHEMA, encode(wanted)),
        ToNode::Echo(echo) => (Echo::SCHEMA, encode(echo)),
    };
    Outgoing::new(CONTROL, node.as_str(), body).kind(schema)
}
