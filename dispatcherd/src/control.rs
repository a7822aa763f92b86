//! What relayd tells this node: grants, receipts, replays, what it does not know, cancels, wishes for the catalog, echoes.

use std::sync::Arc;

use aegir_amqp::{Deliveries, Delivery};
use aegir_protocol::message::{Echo, Echoed, ToNode, decode_to_node};

use crate::node::Node;
use crate::slots::{self, SlotEvent};

/// How many control messages may be under way. They are small and quickly passed on.
pub const PREFETCH: u16 = 256;

/// Passes control messages on until the node stops.
pub async fn run(node: Arc<Node>, mut deliveries: Deliveries) {
    let cancel = node.cancel.clone();
    let pass_on = async {
        while let Some(delivery) = deliveries.recv().await {
            take(&node, delivery).await;
        }
    };
    let _ = cancel.run_until_cancelled(pass_on).await;
}

async fn take(node: &Arc<Node>, delivery: Delivery) {
    match decode_to_node(&delivery.body()) {
        Ok(message) => {
            pass_on(node, message).await;
            if let Err(error) = delivery.ack().await {
                // It comes again; each of these may.
                tracing::debug!(%error, "a control message was not acknowledged");
            }
        }
        Err(error) => node.spawn("dead-letter a message", async move {
            if let Err(error) = delivery.dead_letter(error.code().as_str(), &error.to_string()).await {
                tracing::warn!(%error, "a message could not be dead-lettered");
            }
        }),
    }
}

async fn pass_on(node: &Arc<Node>, message: ToNode) {
    match message {
        ToNode::Receipt(receipt) => {
            if !node.uploads.receipt(&receipt) {
                tracing::debug!(operation_id = %receipt.operation, "a receipt for what has ended");
            }
        }
        ToNode::Replay(replay) => {
            if !node.uploads.replay(&replay) {
                tracing::warn!(
                    operation_id = %replay.operation, attempt = replay.attempt.get(), offset = replay.offset,
                    "relayd asks for a transcript that is not here any more"
                );
            }
        }
        ToNode::Unknown(unknown) => {
            let (operation, attempt) = (unknown.operation, unknown.attempt.get());
            if !node.uploads.unknown(unknown) {
                tracing::debug!(operation_id = %operation, attempt, "relayd does not know what has ended");
            }
        }
        ToNode::Grant(grant) => {
            tracing::debug!(
                operation_id = %grant.operation, attempt = grant.attempt.get(), granted = grant.granted,
                "claim answered"
            );
            let lease_state = grant.lease.map(slots::lease_state);
            node.happened(SlotEvent::Answered(grant, lease_state)).await;
        }
        ToNode::Cancel(cancel) => {
            tracing::info!(
                operation_id = %cancel.operation, attempt = cancel.attempt.get(),
                requested_by = cancel.requested_by, "cancel received"
            );
            node.happened(SlotEvent::Canceled(cancel)).await;
        }
        ToNode::CatalogWanted(_) => node.catalog_wanted.notify_one(),
        ToNode::Echo(echo) => node.spawn("echo", answer(Arc::clone(node), echo)),
    }
}

async fn answer(node: Arc<Node>, echo: Echo) {
    let echoed = Echoed { id: echo.id, node: node.planning.node.clone() };
    let outcome = match node.frontends.send(&echo.frontend, &echoed).await {
        Ok(sent) => sent.confirmed().await,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        tracing::warn!(frontend = %echo.frontend, %error, "an echo was not answered");
    }
}
