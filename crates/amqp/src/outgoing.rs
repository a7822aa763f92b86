//! A message on its way out: as it is given, as lapin takes it, and why it may not have arrived.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

/// The content type of a message unless it says otherwise.
const JSON: &str = "application/json";

/// How much may be unconfirmed, in units of one message or 32 KiB of its body, whichever is more: 1024 small
/// messages, or 32 MiB. lapin holds a copy of what has not reached the socket.
pub(crate) const WINDOW: usize = 1024;

const UNIT: usize = 32 * 1024;

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The exchange; empty for the default one, which routes to the queue named by the routing key.
    pub exchange: Cow<'static, str>,
    /// The routing key.
    pub routing_key: String,
    /// The body.
    pub body: Bytes,
    /// What the body is.
    pub content_type: Cow<'static, str>,
    /// Whether a message that no queue takes is an error. Everything but heartbeats is.
    pub mandatory: bool,
    /// Whether the broker keeps it on disk.
    pub persistent: bool,
    /// The `type` property: what kind of message this is.
    pub kind: Option<String>,
    /// The sender's id of the message.
    pub message_id: Option<String>,
    /// The id of the message that this one answers.
    pub correlation_id: Option<String>,
    /// The queue for the answer.
    pub reply_to: Option<String>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
}

impl Outgoing {
    /// A mandatory, persistent JSON message.
    #[must_use]
    pub fn new(
        exchange: impl Into<Cow<'static, str>>,
        routing_key: impl Into<String>,
        body: impl Into<Bytes>,
    ) -> Self {
        Self {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            body: body.into(),
            content_type: Cow::Borrowed(JSON),
            mandatory: true,
            persistent: true,
            kind: None,
            message_id: None,
            correlation_id: None,
            reply_to: None,
            headers: BTreeMap::new(),
        }
    }

    /// What the body is, if it is not JSON.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// What kind of message this is.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// The sender's id of the message.
    #[must_use]
    pub fn message_id(mut self, id: impl Into<String>) -> Self {
        self.message_id = Some(id.into());
        self
    }

    /// The id of the message that this one answers.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// The queue for the answer.
    #[must_use]
    pub fn reply_to(mut self, queue: impl Into<String>) -> Self {
        self.reply_to = Some(queue.into());
        self
    }

    /// Lets it vanish when nobody is there to take it, and does not put it on disk: a heartbeat.
    #[must_use]
    pub fn transient(mut self) -> Self {
        self.mandatory = false;
        self.persistent = false;
        self
    }
}

/// Why a message is not known to have arrived.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// No queue takes it. It was not stored.
    #[error("no queue takes messages with routing key {routing_key:?} from exchange {exchange:?}")]
    Unroutable {
        /// The exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The broker refused it, for instance because the queue is full. It was not stored.
    #[error("the broker refused the message: the queue is full or cannot store it")]
    Refused,
    /// No confirm came in time. It may or may not arrive.
    #[error("the broker did not confirm the message in time")]
    TimedOut,
    /// The broker takes no messages for now, because it is short of memory or disk. One that was already under way
    /// may arrive later.
    #[error("the broker takes no messages for now: {reason}")]
    Blocked {
        /// What the broker says.
        reason: String,
    },
    /// The session ended before the confirm. It may or may not have arrived.
    #[error("the connection to the broker was lost before the message was confirmed")]
    Lost,
    /// There is no session. It was not sent.
    #[error("not connected to the broker")]
    NotConnected,
    /// A property cannot be sent. It was not sent, and never can be.
    #[error("{what} is longer than the 255 bytes that AMQP allows")]
    TooLong {
        /// Which property.
        what: &'static str,
    },
}

impl PublishError {
    /// Whether the same message may succeed later without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused | Self::TimedOut | Self::Blocked { .. } | Self::Lost | Self::NotConnected => true,
            Self::Unroutable { .. } | Self::TooLong { .. } => false,
        }
    }
}

/// A message as lapin takes it.
pub(crate) struct PreparedMessage {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) mandatory: bool,
    pub(crate) body: Bytes,
    pub(crate) properties: BasicProperties,
}

impl PreparedMessage {
    pub(crate) fn weight(&self) -> u32 {
        let units = 1 + self.body.len() / UNIT;
        u32::try_from(units.min(WINDOW)).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for PreparedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("length", &self.body.len())
            .finish()
    }
}

impl TryFrom<Outgoing> for PreparedMessage {
    type Error = PublishError;

    fn try_from(outgoing: Outgoing) -> Result<Self, PublishError> {
        let mut properties = BasicProperties::default()
            .with_content_type(short("the content type", outgoing.content_type.into_owned())?)
            .with_delivery_mode(if outgoing.persistent { 2 } else { 1 });
        if let Some(kind) = outgoing.kind {
            properties = properties.with_type(short("the kind", kind)?);
        }
        if let Some(id) = outgoing.message_id {
            properties = properties.with_message_id(short("the message id", id)?);
        }
        if let Some(id) = outgoing.correlation_id {
            properties = properties.with_correlation_id(short("the correlation id", id)?);
        }
        if let Some(queue) = outgoing.reply_to {
            properties = properties.with_reply_to(short("the queue for the answer", queue)?);
        }
        let mut headers = FieldTable::default();
        for (name, value) in outgoing.headers {
            headers.insert(short("a header's name", name)?, AMQPValue::LongString(value.into()));
        }
        Ok(Self {
            exchange: short("the exchange", outgoing.exchange.into_owned())?,
            routing_key: short("the routing key", outgoing.routing_key)?,
            mandatory: outgoing.mandatory,
            body: outgoing.body,
            properties: properties.with_headers(headers),
        })
    }
}

/// lapin's own conversion panics on a longer text.
pub(crate) fn short(what: &'static str, text: String) -> Result<ShortString, PublishError> {
    ShortString::try_new(text).map_err(|_| PublishError::TooLong { what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_an_error_and_no_panic() {
        let long = "x".repeat(256);
        let message = || Outgoing::new("", "q", "body");
        let all = [
            Outgoing::new(long.clone(), "q", ""),
            Outgoing::new("", long.clone(), ""),
            message().content_type(long.clone()),
            message().kind(long.clone()),
            message().message_id(long.clone()),
            message().correlation_id(long.clone()),
            message().reply_to(long.clone()),
            Outgoing { headers: [(long, String::new())].into(), ..message() },
        ];
        for outgoing in all {
            let outcome = PreparedMessage::try_from(outgoing).err();
            assert!(matches!(outcome, Some(PublishError::TooLong { .. })), "{outcome:?}");
        }
    }

    #[test]
    fn a_large_body_takes_more_of_the_window_and_never_more_than_all() {
        let weight = |length: usize| {
            PreparedMessage::try_from(Outgoing::new("", "q", vec![0; length]))
                .map(|prepared| prepared.weight())
        };
        assert_eq!(weight(0), Ok(1));
        assert_eq!(weight(1024 * 1024), Ok(33));
        assert_eq!(weight(80 * 1024 * 1024), Ok(1024));
    }
}
