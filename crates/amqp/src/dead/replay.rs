//! Publishing a message again as it came.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::protocol::basic::{gen_properties, parse_properties};

use super::headers::REPLAYS;
use super::letter::count;
use crate::outgoing::{PreparedMessage, PublishError, short};
use crate::publisher::Publisher;

/// A message as its sender published it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// The properties, headers included, as AMQP 0-9-1 encodes them (section 4.2.6.1).
    pub properties: Bytes,
    /// The body.
    pub body: Bytes,
}

/// Why a message was not published again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The bytes kept of its properties are none.
    #[error("what is kept of the message's properties can't be read")]
    Properties,
    /// The broker has not taken it, or has not said so.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Publisher {
    /// Publishes a message again, to where it came from, and waits until the broker has taken responsibility for
    /// it. It must be routable. `replays` goes with it, so that it is known if it comes back.
    ///
    /// # Errors
    ///
    /// See [`ReplayError`].
    pub async fn replay(&self, original: Original, replays: u32) -> Result<(), ReplayError> {
        let properties = decode(&original.properties).ok_or(ReplayError::Properties)?;
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(REPLAYS.into(), count(replays.into()));
        let prepared = PreparedMessage {
            exchange: short("the exchange", original.exchange)?,
            routing_key: short("the routing key", original.routing_key)?,
            mandatory: true,
            body: original.body,
            properties: properties.with_headers(headers),
        };
        Ok(self.send_prepared(prepared).await?.confirmed().await?)
    }
}

/// Properties as AMQP encodes them.
pub(super) fn encode(properties: &BasicProperties) -> Bytes {
    let encoded = gen_properties(properties)(Vec::new().into());
    // Into memory, nothing that was received fails to be encoded.
    encoded.map(|written| written.into_inner().0.into()).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Option<BasicProperties> {
    let (rest, properties) = parse_properties(bytes).ok()?;
    rest.is_empty().then_some(properties)
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable, ShortString};

    use super::*;

    #[test]
    fn properties_come_back_as_they_went() {
        let mut headers = FieldTable::default();
        headers.insert("when".into(), AMQPValue::Timestamp(7));
        headers.insert("nested".into(), AMQPValue::FieldTable(headers.clone()));
        let properties = BasicProperties::default()
            .with_content_type("text/plain".into())
            .with_message_id(ShortString::from("é"))
            .with_priority(3)
            .with_headers(headers);
        assert_eq!(decode(&encode(&properties)), Some(properties));
        assert_eq!(decode(b"\xff"), None);
    }
}
