//! Deliveries, and what can be done with one.
//!
//! A delivery is settled exactly once: [`Delivery::ack`] when its effects are on disk, or [`Delivery::dead_letter`]
//! when it cannot be handled. Until then the broker keeps it, and delivers it again when the session ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions};
use lapin::types::{AMQPValue, ShortString};
use lapin::{Acker, BasicProperties};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::dead::{Body, Letter, Origin, letter};
use crate::outgoing::PublishError;
use crate::publisher::Publisher;

/// How long an acknowledgement may take to reach the socket.
const ACK: Duration = Duration::from_secs(30);
/// How often burying is tried before the message goes back to its queue, and the pause between.
const DEAD_LETTER_TRIES: u32 = 5;
const DEAD_LETTER_PAUSE: Duration = Duration::from_secs(1);

/// What to consume.
#[derive(Clone, Debug)]
pub struct Consume {
    pub(crate) queue: String,
    pub(crate) prefetch: u16,
    pub(crate) on_arrival: bool,
    pub(crate) alone: bool,
}

impl Consume {
    /// A queue, by the name in the topology, with at most `prefetch` unsettled deliveries at once (at least one).
    #[must_use]
    pub fn queue(name: impl Into<String>, prefetch: u16) -> Self {
        Self { queue: name.into(), prefetch: prefetch.max(1), on_arrival: false, alone: false }
    }

    /// Says that nobody else consumes this queue. A probe is then sent through it every so often, and a session in
    /// which none comes back is made anew.
    #[must_use]
    pub fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    /// Acknowledges deliveries as they are taken from the broker: for heartbeats, which nobody needs twice.
    #[must_use]
    pub fn settled_on_arrival(mut self) -> Self {
        self.on_arrival = true;
        self
    }
}

/// The deliveries of one queue, across sessions.
#[derive(Debug)]
pub struct Deliveries {
    receiver: mpsc::Receiver<Delivery>,
}

impl Deliveries {
    pub(crate) fn new(receiver: mpsc::Receiver<Delivery>) -> Self {
        Self { receiver }
    }

    /// The next delivery; `None` once the link was stopped and nothing is left. Cancel safe.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.receiver.recv().await.map(Delivery::delivered)
    }

    /// The next delivery, if one is here already: for taking all that waits into one commit.
    pub fn try_recv(&mut self) -> Option<Delivery> {
        self.receiver.try_recv().ok().map(Delivery::delivered)
    }
}

/// Stops a consumer and lets it go on, at run time and across sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsumeControl {
    paused: watch::Sender<bool>,
}

impl ConsumeControl {
    pub(crate) fn new(paused: watch::Sender<bool>) -> Self {
        Self { paused }
    }

    /// Tells the broker to deliver nothing more. What was delivered before, at most the prefetch, still comes.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Whether it is paused.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }
}

/// Why a delivery could not be settled. It will be delivered again in both cases.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The session that it came by has ended.
    #[error("the session ended before the delivery was settled: it will be delivered again")]
    Lost,
    /// The dead-letter queue did not take it. It went back to its queue.
    #[error("the dead-letter queue did not take the message: it will be delivered again")]
    NotDeadLettered(#[source] PublishError),
}

/// A message that the broker delivered.
#[derive(Debug)]
#[must_use = "an unsettled delivery is delivered again, and takes up room until then"]
pub struct Delivery {
    body: Bytes,
    properties: BasicProperties,
    exchange: ShortString,
    routing_key: ShortString,
    redelivered: bool,
    queue: Arc<str>,
    publisher: Publisher,
    /// `None` once settled.
    acker: Option<Acker>,
    /// Whether a reader has it. What is dropped before that was nobody's mistake.
    delivered: bool,
    /// Counts it as unsettled.
    _unsettled: Arc<()>,
}

impl Delivery {
    pub(crate) fn new(
        from: lapin::message::Delivery,
        queue: Arc<str>,
        publisher: Publisher,
        unsettled: Arc<()>,
    ) -> Self {
        Self {
            body: from.data.into(),
            properties: from.properties,
            exchange: from.exchange,
            routing_key: from.routing_key,
            redelivered: from.redelivered,
            queue,
            publisher,
            acker: Some(from.acker),
            delivered: false,
            _unsettled: unsettled,
        }
    }

    fn delivered(mut self) -> Self {
        self.delivered = true;
        self
    }

    /// The body. Cheap: the bytes are shared.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// What the body is.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        text(self.properties.content_type())
    }

    /// What kind of message this is.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        text(self.properties.kind())
    }

    /// The sender's id of the message.
    #[must_use]
    pub fn message_id(&self) -> Option<&str> {
        text(self.properties.message_id())
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        text(self.properties.correlation_id())
    }

    /// The queue for the answer.
    #[must_use]
    pub fn reply_to(&self) -> Option<&str> {
        text(self.properties.reply_to())
    }

    /// The login on the broker that sent it, if the sender said so: the broker checks what is said.
    #[must_use]
    pub fn user_id(&self) -> Option<&str> {
        text(self.properties.user_id())
    }

    /// A header, if it is there and a text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            AMQPValue::ShortString(text) => Some(text.to_string()),
            _ => None,
        }
    }

    /// What this is if it comes from the dead-letter queue.
    #[must_use]
    pub fn letter(&self) -> Letter {
        Letter::read(self.body(), &self.properties, &self.exchange, &self.routing_key)
    }

    /// Whether it was delivered before, to us or another.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// The queue that it came from, by its name in the topology.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Settles it: its effects are safe, the broker may forget it.
    ///
    /// # Errors
    ///
    /// [`SettleError::Lost`]: it will be delivered again.
    pub async fn ack(mut self) -> Result<(), SettleError> {
        self.acknowledge().await
    }

    /// Settles many at once, after one commit: far faster than one by one, for each acknowledgement waits until
    /// it reached the socket.
    ///
    /// # Errors
    ///
    /// [`SettleError::Lost`]: some, perhaps all, will be delivered again.
    pub async fn ack_all(deliveries: Vec<Self>) -> Result<(), SettleError> {
        join_all(deliveries.into_iter().map(Self::ack)).await.into_iter().collect()
    }

    /// Moves it to the dead-letter queue with the reason, and settles it once the broker has confirmed that.
    /// `code` is one of the protocol's stable codes, `reason` is for people; neither may hold a secret.
    ///
    /// # Errors
    ///
    /// See [`SettleError`]: it will be delivered again.
    pub async fn dead_letter(self, code: &str, reason: &str) -> Result<(), SettleError> {
        let body = Body::whole(self.body());
        self.dead_letter_with(code, reason, body).await
    }

    /// As [`dead_letter`](Self::dead_letter), with another body in the letter: for what may hold a secret in the clear.
    ///
    /// # Errors
    ///
    /// See [`SettleError`]: it will be delivered again.
    pub async fn dead_letter_with(mut self, code: &str, reason: &str, body: Body) -> Result<(), SettleError> {
        let mut outcome = self.publish_letter(code, reason, &body).await;
        for _ in 1..DEAD_LETTER_TRIES {
            match &outcome {
                Ok(()) | Err(PublishError::Lost | PublishError::NotConnected) => break,
                Err(_) if !self.usable() => break,
                Err(_) => {
                    tokio::time::sleep(DEAD_LETTER_PAUSE).await;
                    outcome = self.publish_letter(code, reason, &body).await;
                }
            }
        }
        let Err(error) = outcome else {
            tracing::warn!(queue = &*self.queue, code, reason, "message moved to the dead-letter queue");
            return self.acknowledge().await;
        };
        let Some(acker) = self.acker.take() else { return Err(SettleError::Lost) };
        let back = acker.nack(BasicNackOptions { multiple: false, requeue: true });
        match timeout(ACK, back).await {
            Ok(Ok(true)) => Err(SettleError::NotDeadLettered(error)),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(SettleError::Lost),
        }
    }

    async fn publish_letter(&self, code: &str, reason: &str, body: &Body) -> Result<(), PublishError> {
        let origin = Origin {
            queue: &self.queue,
            exchange: self.exchange.as_str(),
            routing_key: self.routing_key.as_str(),
        };
        let at = jiff::Timestamp::now();
        let letter = letter(body.clone(), &self.properties, &origin, code, reason, at);
        self.publisher.send_prepared(letter).await?.confirmed().await
    }

    /// Whether the session that it came by still lives.
    fn usable(&self) -> bool {
        self.acker.as_ref().is_some_and(Acker::usable)
    }

    pub(crate) async fn acknowledge(&mut self) -> Result<(), SettleError> {
        // Settled on arrival.
        let Some(acker) = self.acker.take() else { return Ok(()) };
        // lapin answers `Ok(false)` for a delivery of a session that has ended.
        match timeout(ACK, acker.ack(BasicAckOptions::default())).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false) | Err(_)) | Err(_) => Err(SettleError::Lost),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.delivered && self.usable() {
            tracing::error!(
                queue = &*self.queue,
                "a delivery was dropped unsettled: it is delivered again when the session ends"
            );
        }
    }
}

fn text(property: &Option<ShortString>) -> Option<&str> {
    property.as_ref().map(ShortString::as_str)
}
