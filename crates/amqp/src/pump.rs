//! Consuming in one session: one task for each queue, from the broker into a bounded channel.
//!
//! Each consumer has a channel on the broker of its own, so that its prefetch and its acknowledgements concern
//! nobody else.

use std::sync::Arc;

use futures_util::StreamExt as _;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::activity::ConsumerActivity;
use crate::consumer::{Consume, Delivery};
use crate::loopback_probe::KIND;
use crate::publisher::Publisher;

/// A consumer as the session keeps it, from one connection to the next.
#[derive(Clone, Debug)]
pub(crate) struct RegisteredConsumer {
    pub(crate) consume: Consume,
    pub(crate) sender: mpsc::Sender<Delivery>,
    pub(crate) paused: watch::Receiver<bool>,
}

/// Why consuming ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PumpError {
    /// The stream of deliveries ended without an error: the queue was deleted, or its node is gone.
    #[error("the broker ended the consumer of {queue}: the queue was deleted or its node is gone")]
    Cancelled { queue: String },
    #[error("consuming {queue} failed: {source}")]
    Failed { queue: String, source: lapin::Error },
}

/// Consumes `name`, the outlet's queue under its name on the broker, until the channel fails or `ended`.
pub(crate) async fn run(
    channel: Channel,
    name: ShortString,
    prefetch: u16,
    mut outlet: RegisteredConsumer,
    publisher: Publisher,
    heard: Arc<ConsumerActivity>,
    ended: CancellationToken,
) -> Result<(), PumpError> {
    tokio::select! {
        outcome = consume(&channel, &name, prefetch, &mut outlet, &publisher, &heard) => outcome,
        () = ended.cancelled() => Ok(()),
    }
}

async fn consume(
    channel: &Channel,
    name: &ShortString,
    prefetch: u16,
    outlet: &mut RegisteredConsumer,
    publisher: &Publisher,
    heard: &ConsumerActivity,
) -> Result<(), PumpError> {
    let queue: Arc<str> = outlet.consume.queue.as_str().into();
    let failed = |source| PumpError::Failed { queue: queue.to_string(), source };
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
    loop {
        // Paused, and the control is gone: nobody will ever resume.
        if outlet.paused.wait_for(|paused| !paused).await.is_err() {
            return std::future::pending().await;
        }
        let options = BasicConsumeOptions::default();
        let mut consumer = channel
            .basic_consume(name.clone(), ShortString::default(), options, FieldTable::default())
            .await
            .map_err(failed)?;
        drain(channel, &mut consumer, outlet, publisher, heard, &queue).await?;
    }
}

/// Takes deliveries until the consumer was paused and nothing that came before is left.
async fn drain(
    channel: &Channel,
    consumer: &mut Consumer,
    outlet: &mut RegisteredConsumer,
    publisher: &Publisher,
    heard: &ConsumerActivity,
    queue: &Arc<str>,
) -> Result<(), PumpError> {
    let failed = |source| PumpError::Failed { queue: queue.to_string(), source };
    let mut cancelled = false;
    loop {
        let next = async {
            // First the room, then the delivery, so that none is held here where nobody can settle it.
            heard.reader_is_busy(true);
            let room = outlet.sender.reserve().await.ok()?;
            heard.reader_is_busy(false);
            Some((room, consumer.next().await))
        };
        let pause = async {
            if cancelled || outlet.paused.wait_for(|paused| *paused).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let next = tokio::select! {
            biased;
            () = pause => {
                cancelled = true;
                cancel(channel, consumer).await.map_err(failed)?;
                continue;
            }
            next = next => next,
        };
        // Nobody reads any more. What was delivered goes back to the queue with the channel.
        let Some((room, delivery)) = next else {
            cancel(channel, consumer).await.map_err(failed)?;
            return std::future::pending().await;
        };
        match delivery {
            Some(Ok(delivery)) => {
                let unsettled = heard.delivered();
                let mut delivery = Delivery::new(delivery, Arc::clone(queue), publisher.clone(), unsettled);
                let loopback_probe = delivery.kind() == Some(KIND);
                if outlet.consume.on_arrival || loopback_probe {
                    // If the session is lost just now, the stream says so next.
                    let _ = delivery.acknowledge().await;
                }
                if !loopback_probe {
                    room.send(delivery);
                }
            }
            Some(Err(source)) => return Err(failed(source)),
            // After this the stream is never ready again.
            None if cancelled => return Ok(()),
            None => return Err(PumpError::Cancelled { queue: queue.to_string() }),
        }
    }
}

async fn cancel(channel: &Channel, consumer: &Consumer) -> Result<(), lapin::Error> {
    channel.basic_cancel(consumer.tag(), BasicCancelOptions::default()).await
}
