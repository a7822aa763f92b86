//! The outbox: publishes queued Operations, the most urgent first and of these the oldest, as many as the quota allows. The
//! rest waits here, where a more urgent one goes past it.
//!
//! The outbox is no table of its own but the Operations' rows, so that nothing can be in one and not in the
//! other. A crash between the broker's confirm and the row's mark publishes twice, which a node sees.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::topology::OPERATIONS;
use aegir_amqp::{BrokerSession, Outgoing, PendingConfirm, PublishError, Topology};
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{Message as _, encode};
use aegir_protocol::name::BackendName;
use aegir_protocol::operation::Operation;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::quota;
use crate::ledger::LedgerEvent;
use crate::nodes::Nodes;
use crate::store::write::ApplyEvents;
use crate::store::{Dispatched, Store, StoreError};

/// After a failure, how long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Publishes what is queued.
pub struct Outbox {
    /// Where it is read, and marked.
    pub store: Store,
    /// The way to the broker.
    pub link: BrokerSession,
    /// What is known of who takes them.
    pub nodes: Arc<Nodes>,
    /// There may be something new, or room for it.
    pub wake: Arc<Notify>,
}

/// Why the outbox could not be emptied.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Sent = BoxFuture<'static, (i64, Result<(), PublishError>)>;

impl Outbox {
    /// Publishes until `cancel`.
    pub async fn run(self, cancel: CancellationToken) {
        let mut status = self.link.status();
        let mut sent: FuturesUnordered<Sent> = FuturesUnordered::new();
        let mut under_way: HashSet<i64> = HashSet::new();
        let mut declared: HashSet<BackendName> = HashSet::new();
        // After a start or a reconnect there may be something from before.
        let mut look = true;
        let mut not_before = Instant::now();
        loop {
            if look && Instant::now() >= not_before && status.borrow_and_update().is_up() {
                match self.flush(&mut sent, &mut under_way, &mut declared).await {
                    Ok(all) => look = !all,
                    Err(error) => {
                        tracing::warn!(error = %error, "the outbox could not be emptied; it is tried again");
                    }
                }
                if look {
                    not_before = Instant::now() + PAUSE;
                }
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                Some((number, result)) = sent.next(), if !sent.is_empty() => {
                    under_way.remove(&number);
                    match result {
                        // There may be more than was looked at.
                        Ok(()) => look |= under_way.is_empty(),
                        Err(error) => {
                            tracing::warn!(error = %error, "an Operation could not be published; it is tried again");
                            // It may be the queue that is gone.
                            declared.clear();
                            look = true;
                            not_before = Instant::now() + PAUSE;
                        }
                    }
                }
                () = self.wake.notified() => look = true,
                changed = status.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    declared.clear();
                    look = true;
                }
                () = tokio::time::sleep(PAUSE), if look && status.borrow().is_up() => {}
            }
        }
    }

    /// Hands what is unpublished to the broker; whether that was all that fits.
    async fn flush(
        &self,
        sent: &mut FuturesUnordered<Sent>,
        under_way: &mut HashSet<i64>,
        declared: &mut HashSet<BackendName>,
    ) -> Result<bool, OutboxError> {
        let mut all = true;
        for backend in self.store.backends_to_publish().await? {
            if !declared.contains(&backend) {
                if let Err(error) = self.link.declare(Topology::of_backend(&backend)).await {
                    tracing::error!(backend = %backend, error = %error, "no queue for a backend");
                    // The others have theirs.
                    all = false;
                    continue;
                }
                declared.insert(backend.clone());
            }
            for handed in self.due(&backend, under_way).await? {
                let number = handed.number;
                let Some(operation) = self.store.queued(number).await? else { continue };
                let pending = self.link.publisher().send(outgoing(&operation)).await?;
                under_way.insert(number);
                sent.push(Box::pin(publish(self.store.clone(), number, operation.attempt_id(), pending)));
            }
        }
        Ok(all)
    }

    /// What is to be handed to a backend now.
    async fn due(
        &self,
        backend: &BackendName,
        under_way: &HashSet<i64>,
    ) -> Result<Vec<Dispatched>, StoreError> {
        let capacities = self.nodes.capacities(backend);
        let most = quota::most(quota::slots(&capacities)).saturating_add(under_way.len());
        // In this order: what is confirmed between the two reads is in both, and in the other order it would be in none.
        let unpublished = self.store.unpublished(backend, most).await?;
        let mut dispatched = self.store.unclaimed(backend, quota::looked_at(&capacities)).await?;
        let (unconfirmed, mut waiting): (Vec<_>, Vec<_>) =
            unpublished.into_iter().partition(|handed| under_way.contains(&handed.number));
        let confirmed: HashSet<_> = dispatched.iter().map(|handed| handed.number).collect();
        dispatched.extend(unconfirmed.into_iter().filter(|handed| !confirmed.contains(&handed.number)));
        waiting.truncate(quota::how_many(&capacities, &dispatched, waiting.iter().map(|one| one.priority)));
        Ok(waiting)
    }
}

/// Waits for the broker's confirm and marks the Operation. A store that can't be written is tried again: the
/// message is out.
async fn publish(
    store: Store,
    number: i64,
    attempt: AttemptId,
    pending: PendingConfirm,
) -> (i64, Result<(), PublishError>) {
    if let Err(error) = pending.confirmed().await {
        return (number, Err(error));
    }
    let published = || ApplyEvents(vec![(attempt, LedgerEvent::Published { attempt: attempt.attempt })]);
    while let Err(error) = store.write(published()).await {
        tracing::warn!(
            operation_id = %attempt.operation, error = %error,
            "an Operation was published, and that can't be written down; it is tried again"
        );
        tokio::time::sleep(PAUSE).await;
    }
    (number, Ok(()))
}

fn outgoing(operation: &Operation) -> Outgoing {
    Outgoing::new(OPERATIONS, operation.backend.as_str(), encode(operation))
        .kind(Operation::SCHEMA)
        .message_id(operation.attempt_id().to_string())
}
