//! What a message looks like in the dead-letter queue.
//!
//! Body and properties stay as they were, except for those that the broker acts on: a message must neither
//! expire there, nor be refused because somebody else's name is its sender, nor be routed on by a header. The
//! original headers are kept as a table of their own. What the broker moves there by itself, after
//! [`DELIVERY_LIMIT`](crate::topology::DELIVERY_LIMIT) deliveries, has an `x-death` header instead.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::generation::gen_field_table;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::publisher::Prepared;
use crate::topology::DEAD;

/// The stable code of why a message is here.
pub const CODE: &str = "x-aegir-code";
/// Why a message is here, for people.
pub const REASON: &str = "x-aegir-reason";
/// The queue that it came from, to which it can be published again.
pub const QUEUE: &str = "x-aegir-queue";
/// The exchange that it was published to.
pub const EXCHANGE: &str = "x-aegir-exchange";
/// The routing key that it was published with.
pub const ROUTING_KEY: &str = "x-aegir-routing-key";
/// When it came here: RFC 3339, UTC.
pub const AT: &str = "x-aegir-at";
/// The headers that it had, as a table.
pub const HEADERS: &str = "x-aegir-headers";
/// Set when the original headers were too large to be kept.
pub const HEADERS_DROPPED: &str = "x-aegir-headers-dropped";

/// The most bytes of a code or a reason.
const TEXT: usize = 2048;
/// The most bytes of original headers. A message's properties must fit into one frame of 128 KiB, or the broker
/// ends the connection.
const HEADERS_BYTES: usize = 64 * 1024;

/// Where a message came from.
pub(crate) struct Origin<'a> {
    pub(crate) queue: &'a str,
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
}

/// The message as it is published to the dead-letter exchange.
pub(crate) fn letter(
    body: Bytes,
    properties: &BasicProperties,
    origin: &Origin<'_>,
    code: &str,
    reason: &str,
    at: jiff::Timestamp,
) -> Prepared {
    let mut headers = FieldTable::default();
    let mut put = |name: &str, text: &str| {
        headers.insert(name.into(), AMQPValue::LongString(start(text, TEXT).into()));
    };
    put(CODE, code);
    put(REASON, reason);
    put(QUEUE, origin.queue);
    put(EXCHANGE, origin.exchange);
    put(ROUTING_KEY, origin.routing_key);
    put(AT, &at.to_string());
    if let Some(original) = properties.headers() {
        if encoded_length(original) <= HEADERS_BYTES {
            headers.insert(HEADERS.into(), AMQPValue::FieldTable(original.clone()));
        } else {
            headers.insert(HEADERS_DROPPED.into(), AMQPValue::Boolean(true));
        }
    }
    Prepared {
        exchange: DEAD.into(),
        // Only for the eye: the exchange is a fanout.
        routing_key: ShortString::try_new(origin.queue).unwrap_or_else(|_| DEAD.into()),
        mandatory: true,
        body,
        properties: kept(properties).with_delivery_mode(2).with_headers(headers),
    }
}

/// The properties that mean something to a reader only.
fn kept(original: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    if let Some(value) = original.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = original.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = original.correlation_id() {
        kept = kept.with_correlation_id(value.clone());
    }
    if let Some(value) = original.reply_to() {
        kept = kept.with_reply_to(value.clone());
    }
    if let Some(value) = original.message_id() {
        kept = kept.with_message_id(value.clone());
    }
    if let Some(value) = original.timestamp() {
        kept = kept.with_timestamp(*value);
    }
    if let Some(value) = original.kind() {
        kept = kept.with_type(value.clone());
    }
    if let Some(value) = original.app_id() {
        kept = kept.with_app_id(value.clone());
    }
    kept
}

fn encoded_length(table: &FieldTable) -> usize {
    // A failure to encode counts as too long.
    gen_field_table(table)(Vec::new().into()).map_or(usize::MAX, |written| written.into_inner().0.len())
}

/// The start of a text, cut at a character.
fn start(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
