//! Reading a letter, whoever put it there.

use bytes::Bytes;
use jiff::Timestamp;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::headers::{
    AT, BODY, CODE, EXCHANGE, HEADERS, HEADERS_DROPPED, LENGTH, QUEUE, REASON, REPLAYS, ROUTING_KEY,
};
use super::letter::Kept;
use super::replay::{self, Original};

/// How the broker's own headers begin: what it counts and where it moved a message. They are not the sender's.
const OF_THE_BROKER: [&str; 5] =
    ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"];

/// Why a message is in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A reader could not handle it.
    ByConsumer {
        /// The stable code, as it stands in the message.
        code: String,
        /// For people.
        reason: String,
    },
    /// The broker moved it: `delivery_limit`, `expired`, `maxlen` or `rejected`.
    Moved(String),
    /// Nobody moved it: it was published to the dead-letter exchange.
    Strange,
}

/// A message in the dead-letter queue.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Why it is here.
    pub cause: Cause,
    /// The queue that it came from.
    pub queue: String,
    /// When it came here, if a reader put it here.
    pub at: Option<Timestamp>,
    /// How often it was published again before.
    pub replays: u32,
    /// How much of the body is here.
    pub kept: Kept,
    /// How many bytes the body had.
    pub length: u64,
    /// Whether its headers were too large to be kept.
    pub headers_dropped: bool,
    /// What its sender says that the body is.
    pub content_type: Option<String>,
    /// Its sender's id of it.
    pub message_id: Option<String>,
    /// Itself, to be published again.
    pub original: Original,
}

impl Letter {
    pub(crate) fn read(
        body: Bytes,
        properties: &BasicProperties,
        exchange: &ShortString,
        routing_key: &ShortString,
    ) -> Self {
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none);
        let get = |name: &str| headers.inner().get(name);
        let said = |name: &str| get(name).and_then(text);
        let (cause, queue, exchange, routing_key) = if let Some(code) = said(CODE) {
            let cause = Cause::ByConsumer { code, reason: said(REASON).unwrap_or_default() };
            let place = |name| said(name).unwrap_or_default();
            (cause, place(QUEUE), place(EXCHANGE), place(ROUTING_KEY))
        } else if let Some(why) = said("x-first-death-reason") {
            let place = |name| said(name).unwrap_or_default();
            let (queue, exchange) = (place("x-first-death-queue"), place("x-first-death-exchange"));
            (Cause::Moved(why), queue, exchange, first_routing_key(headers).unwrap_or_default())
        } else {
            (Cause::Strange, String::new(), exchange.to_string(), routing_key.to_string())
        };
        let original_headers = match (&cause, get(HEADERS)) {
            (Cause::ByConsumer { .. }, Some(AMQPValue::FieldTable(headers))) => headers.clone(),
            (Cause::ByConsumer { .. }, _) => FieldTable::default(),
            (Cause::Moved(_) | Cause::Strange, _) => headers.clone(),
        };
        let kept = said(BODY).and_then(|word| Kept::from_word(&word)).unwrap_or(Kept::Whole);
        Self {
            cause,
            queue,
            at: said(AT).and_then(|at| at.parse().ok()),
            replays: get(REPLAYS).and_then(number).and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
            kept,
            length: match kept {
                Kept::Whole => body.len() as u64,
                Kept::Redacted | Kept::Removed => get(LENGTH).and_then(number).unwrap_or(0),
            },
            headers_dropped: get(HEADERS_DROPPED).is_some(),
            content_type: properties.content_type().as_ref().map(ToString::to_string),
            message_id: properties.message_id().as_ref().map(ToString::to_string),
            original: Original {
                exchange,
                routing_key,
                properties: replay::encode(&of_the_sender(properties, &original_headers)),
                body,
            },
        }
    }
}

/// The properties as the sender set them. An expiry and the sender's login stay away: the broker acts on both.
fn of_the_sender(properties: &BasicProperties, headers: &FieldTable) -> BasicProperties {
    let mut own = FieldTable::default();
    for (name, value) in headers.inner() {
        let of_the_broker = OF_THE_BROKER.iter().any(|start| name.as_str().starts_with(start));
        if !of_the_broker && name.as_str() != REPLAYS {
            own.insert(name.clone(), value.clone());
        }
    }
    super::letter::kept(properties).with_delivery_mode(2).with_headers(own)
}

/// The routing key in the first entry of `x-death`.
fn first_routing_key(headers: &FieldTable) -> Option<String> {
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else { return None };
    let AMQPValue::FieldTable(first) = deaths.as_slice().last()? else { return None };
    let Some(AMQPValue::FieldArray(keys)) = first.inner().get("routing-keys") else { return None };
    keys.as_slice().first().and_then(text)
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::LongLongInt(number) => u64::try_from(*number).ok(),
        AMQPValue::LongInt(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}
