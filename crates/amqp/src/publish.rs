//! The publishing side of one session: one task that owns the channel.
//!
//! Messages go out in the order in which they came. Confirms come back in any order, and lapin may pin a
//! returned message on the confirm of another: it keeps returned messages in a queue and hands the front one to
//! whatever confirm is resolved next, while the broker confirms many at once. So every message carries a number
//! in a header, confirms are gathered until no more are ready, and a returned message is matched by its number.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Confirmation};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::activity::PublisherActivity;
use crate::outgoing::{PreparedMessage, PublishError};

/// The header with a message's number within its session.
const NUMBER: &str = "x-aegir-number";

/// A message, its share of the window, and who waits for the outcome.
#[derive(Debug)]
pub(crate) struct PublishJob {
    pub(crate) prepared: PreparedMessage,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) outcome: oneshot::Sender<Result<(), PublishError>>,
}

/// A message that was sent and not yet confirmed.
struct Entry {
    number: i64,
    exchange: String,
    routing_key: String,
    outcome: oneshot::Sender<Result<(), PublishError>>,
    /// Held until the broker answered, however long the caller waits.
    _permit: OwnedSemaphorePermit,
}

type Confirmed = (Entry, lapin::Result<Confirmation>);
type Publishing = Pin<Box<dyn Future<Output = Confirmed> + Send>>;

/// Publishes until the channel fails or `ended`. What was sent and not confirmed is then lost to its callers,
/// what was not yet sent is refused.
///
/// # Errors
///
/// What ended the channel.
pub(crate) async fn run(
    channel: Channel,
    mut jobs: mpsc::Receiver<PublishJob>,
    activity: PublisherActivity,
    ended: CancellationToken,
) -> Result<(), lapin::Error> {
    let outcome = tokio::select! {
        outcome = publish_jobs(&channel, &mut jobs, &activity) => outcome,
        () = ended.cancelled() => Ok(()),
    };
    jobs.close();
    while let Ok(job) = jobs.try_recv() {
        let _ = job.outcome.send(Err(PublishError::NotConnected));
    }
    outcome
}

async fn publish_jobs(
    channel: &Channel,
    jobs: &mut mpsc::Receiver<PublishJob>,
    activity: &PublisherActivity,
) -> Result<(), lapin::Error> {
    let mut number = 0;
    let mut under_way: FuturesUnordered<Publishing> = FuturesUnordered::new();
    let mut returned = HashSet::new();
    loop {
        let mut batch: Vec<Confirmed> = Vec::new();
        let running = poll_fn(|context| {
            loop {
                let mut moved = false;
                loop {
                    match jobs.poll_recv(context) {
                        Poll::Ready(Some(job)) => {
                            moved = true;
                            number += 1;
                            let mut publishing: Publishing = Box::pin(publish(channel.clone(), number, job));
                            // lapin queues the frames when first polled. Doing that here and at once is what
                            // keeps the order; waiting for the socket can overlap.
                            match publishing.as_mut().poll(context) {
                                Poll::Ready(done) => batch.push(done),
                                Poll::Pending => under_way.push(publishing),
                            }
                        }
                        // The session gave up its end. What is under way ends with it.
                        Poll::Ready(None) => return Poll::Ready(false),
                        Poll::Pending => break,
                    }
                }
                while let Poll::Ready(Some(done)) = under_way.poll_next_unpin(context) {
                    moved = true;
                    batch.push(done);
                }
                // The window ends this: its permits come back with the batch.
                if !moved {
                    return if batch.is_empty() { Poll::Pending } else { Poll::Ready(true) };
                }
            }
        })
        .await;
        if !running {
            return Ok(());
        }
        settle(batch, &mut returned, activity)?;
    }
}

async fn publish(channel: Channel, number: i64, job: PublishJob) -> Confirmed {
    let PreparedMessage { exchange, routing_key, mandatory, body, properties } = job.prepared;
    let entry = Entry {
        number,
        exchange: exchange.to_string(),
        routing_key: routing_key.to_string(),
        outcome: job.outcome,
        _permit: job.permit,
    };
    let mut headers = properties.headers().clone().unwrap_or_default();
    headers.insert(NUMBER.into(), AMQPValue::LongLongInt(number));
    let options = BasicPublishOptions { mandatory, immediate: false };
    let properties = properties.with_headers(headers);
    let result = match channel.basic_publish(exchange, routing_key, options, &body, properties).await {
        Ok(confirm) => confirm.await,
        Err(error) => Err(error),
    };
    (entry, result)
}

/// Tells the callers of a batch. `returned` keeps the numbers of returned messages whose own confirm is still to
/// come.
fn settle(
    batch: Vec<Confirmed>,
    returned: &mut HashSet<i64>,
    activity: &PublisherActivity,
) -> Result<(), lapin::Error> {
    let mut failure = None;
    let mut answered = Vec::with_capacity(batch.len());
    for (entry, result) in batch {
        let outcome = match result {
            Ok(Confirmation::Ack(message)) => {
                returned.extend(message.as_ref().and_then(number_of));
                Ok(())
            }
            Ok(Confirmation::Nack(message)) => {
                returned.extend(message.as_ref().and_then(number_of));
                Err(PublishError::Refused)
            }
            // The channel is put into confirm mode before it is used.
            Ok(Confirmation::NotRequested) => Err(PublishError::Lost),
            Err(error) => {
                failure = Some(error);
                Err(PublishError::Lost)
            }
        };
        answered.push((entry, outcome));
    }
    if failure.is_none() {
        activity.answered(answered.len());
    }
    for (entry, outcome) in answered {
        let outcome = if returned.remove(&entry.number) {
            activity.found_no_queue();
            Err(PublishError::Unroutable { exchange: entry.exchange, routing_key: entry.routing_key })
        } else {
            outcome
        };
        // The caller may have given up.
        let _ = entry.outcome.send(outcome);
    }
    failure.map_or(Ok(()), Err)
}

fn number_of(message: &BasicReturnMessage) -> Option<i64> {
    message.delivery.properties.headers().as_ref().and_then(number_in)
}

fn number_in(headers: &FieldTable) -> Option<i64> {
    match headers.inner().get(NUMBER) {
        Some(AMQPValue::LongLongInt(number)) => Some(*number),
        _ => None,
    }
}
