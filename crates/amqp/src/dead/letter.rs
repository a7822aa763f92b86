//! Writing a letter.

use aegir_protocol::redact::{Redacted, redact};
use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::generation::gen_field_table;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::headers::{
    AT, BODY, CODE, EXCHANGE, HEADERS, HEADERS_DROPPED, LENGTH, QUEUE, REASON, REPLAYS, ROUTING_KEY,
};
use crate::outgoing::PreparedMessage;
use crate::topology::DEAD;

/// The most bytes of a code or a reason.
const TEXT: usize = 2048;
/// The most bytes of original headers. With texts and properties they must fit into one frame, of which ours have
/// 16 KiB, or whoever reads the letter loses the connection.
const HEADERS_BYTES: usize = 6 * 1024;

/// How much of a body is kept in a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Every byte.
    Whole,
    /// All but its secrets.
    Redacted,
    /// Nothing.
    Removed,
}

impl Kept {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Redacted => Some("redacted"),
            Self::Removed => Some("removed"),
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Redacted, Self::Removed].into_iter().find(|kept| kept.word() == Some(word))
    }
}

/// The body of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// What is kept.
    pub bytes: Bytes,
    /// How much of the original that is.
    pub kept: Kept,
    /// How many bytes the original has.
    pub length: u64,
}

impl Body {
    /// All of it.
    #[must_use]
    pub fn whole(bytes: Bytes) -> Self {
        Self { length: bytes.len() as u64, kept: Kept::Whole, bytes }
    }

    /// What may be kept of a body without its secrets, which are the members called `secret` and what `pointers`
    /// point at. `unsearchable` says how much is kept of one that is no JSON.
    #[must_use]
    pub fn without_secrets<'a>(
        bytes: Bytes,
        pointers: impl IntoIterator<Item = &'a str>,
        unsearchable: Kept,
    ) -> Self {
        let length = bytes.len() as u64;
        match (redact(&bytes, pointers), unsearchable) {
            (Redacted::Changed(changed), _) => Self { bytes: changed.into(), kept: Kept::Redacted, length },
            (Redacted::Unchanged, _) | (Redacted::Unsearchable, Kept::Whole) => Self::whole(bytes),
            (Redacted::Unsearchable, Kept::Redacted | Kept::Removed) => {
                Self { bytes: Bytes::new(), kept: Kept::Removed, length }
            }
        }
    }
}

/// Where a message came from.
pub(crate) struct Origin<'a> {
    pub(crate) queue: &'a str,
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
}

/// The message as it is published to the dead-letter exchange.
pub(crate) fn letter(
    body: Body,
    properties: &BasicProperties,
    origin: &Origin<'_>,
    code: &str,
    reason: &str,
    at: jiff::Timestamp,
) -> PreparedMessage {
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
    if let Some(word) = body.kept.word() {
        put(BODY, word);
        headers.insert(LENGTH.into(), count(body.length));
    }
    if let Some(original) = properties.headers() {
        if let Some(replays) = original.inner().get(REPLAYS) {
            headers.insert(REPLAYS.into(), replays.clone());
        }
        if encoded_length(original) <= HEADERS_BYTES {
            headers.insert(HEADERS.into(), AMQPValue::FieldTable(original.clone()));
        } else {
            headers.insert(HEADERS_DROPPED.into(), AMQPValue::Boolean(true));
        }
    }
    PreparedMessage {
        exchange: DEAD.into(),
        // Only for the eye: the exchange is a fanout.
        routing_key: ShortString::try_new(origin.queue).unwrap_or_else(|_| DEAD.into()),
        mandatory: true,
        body: body.bytes,
        properties: kept(properties).with_delivery_mode(2).with_headers(headers),
    }
}

/// The properties that mean something to a reader only.
pub(super) fn kept(original: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default();
    if let Some(value) = original.content_type() {
        kept = kept.with_content_type(value.clone());
    }
    if let Some(value) = original.content_encoding() {
        kept = kept.with_content_encoding(value.clone());
    }
    if let Some(value) = original.priority() {
        kept = kept.with_priority(*value);
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

pub(super) fn count(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
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
