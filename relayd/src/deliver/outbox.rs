//! The outbox: what is queued and not confirmed by the broker is published, in the order of submission.
//!
//! The outbox is no table of its own but the Operations' rows, so that nothing can be in one and not in the
//! other. A crash between the broker's confirm and the row's mark publishes twice, which a node sees.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::topology::OPERATIONS;
use aegir_amqp::{Link, Outgoing, PublishError, Topology};
use aegir_protocol::message::{Message as _, encode};
use aegir_protocol::name::BackendName;
use aegir_protocol::operation::Operation;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::Event;
use crate::store::write::Happened;
use crate::store::{Store, StoreError};

/// How many are under way. The rest waits in the store.
const IN_FLIGHT: u32 = 512;
/// After a failure, how long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Publishes what is queued.
pub struct Outbox {
    /// Where it is read, and marked.
    pub store: Store,
    /// The way to the broker.
    pub link: Link,
    /// There may be something new.
    pub wake: Arc<Notify>,
}

/// Why an Operation was not published.
#[derive(Debug, thiserror::Error)]
enum OutboxError {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

type Sent = BoxFuture<'static, (i64, Result<(), OutboxError>)>;

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
                        // There may be more than fitted at once.
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
        for number in self.store.unpublished(IN_FLIGHT).await? {
            if under_way.contains(&number) {
                continue;
            }
            let Some(operation) = self.store.queued(number).await? else { continue };
            if !declared.contains(&operation.backend) {
                match self.link.declare(Topology::of_backend(&operation.backend)).await {
                    Ok(()) => {
                        declared.insert(operation.backend.clone());
                    }
                    Err(error) => {
                        tracing::error!(backend = %operation.backend, error = %error, "no queue for a backend");
                        all = false;
                        continue;
                    }
                }
            }
            let pending = self.link.publisher().send(outgoing(&operation)).await?;
            under_way.insert(number);
            let store = self.store.clone();
            let attempt = operation.attempt_id();
            sent.push(Box::pin(async move {
                let published = async {
                    pending.confirmed().await?;
                    let event = Event::Published { attempt: attempt.attempt };
                    store.write(Happened(vec![(attempt, event)])).await?;
                    Ok(())
                };
                (number, published.await)
            }));
        }
        Ok(all)
    }
}

fn outgoing(operation: &Operation) -> Outgoing {
    Outgoing::new(OPERATIONS, operation.backend.as_str(), encode(operation))
        .kind(Operation::SCHEMA)
        .message_id(operation.attempt_id().to_string())
}
