//! From a message to bytes and back.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::bodies::{
    Cancel, CatalogMessage, CatalogWanted, Chunk, Claim, Echo, Echoed, Grant, Heartbeat, Receipt, Replay,
    Report, Unknown,
};
use crate::code::Code;
use crate::limits::{MAX_CHUNK, MAX_MESSAGE};
use crate::operation::Operation;
use crate::read::{self, Misread, UnknownFields};
use crate::request::{Reply, Request};

/// The content type of every message but a chunk.
pub const JSON_CONTENT_TYPE: &str = "application/json";
/// The content type of a transcript chunk.
pub const CHUNK_CONTENT_TYPE: &str = "application/vnd.aegir.chunk";

/// A body that has a schema of its own.
pub trait Message: Serialize + DeserializeOwned {
    /// The schema's name and major version, as it stands in the envelope: `aegir.claim/0`.
    const SCHEMA: &'static str;
    /// What becomes of fields that are not known: ignored, for the sender may be newer.
    const UNKNOWN: UnknownFields = UnknownFields::Ignore;
}

macro_rules! messages {
    ($($type:ident = $schema:literal $($unknown:ident)?),+ $(,)?) => {
        $(impl Message for $type {
            const SCHEMA: &'static str = $schema;
            $(const UNKNOWN: UnknownFields = UnknownFields::$unknown;)?
        })+

        /// Every schema that this version knows.
        const KNOWN: &[&str] = &[$($schema),+];
    };
}

messages! {
    Request = "aegir.request/0" Refuse,
    Reply = "aegir.reply/0",
    Operation = "aegir.operation/0",
    Claim = "aegir.claim/0",
    Grant = "aegir.grant/0",
    Chunk = "aegir.chunk/0",
    Receipt = "aegir.receipt/0",
    Replay = "aegir.replay/0",
    Unknown = "aegir.unknown/0",
    Cancel = "aegir.cancel/0",
    CatalogWanted = "aegir.catalog_wanted/0",
    Report = "aegir.report/0",
    Echo = "aegir.echo/0",
    Echoed = "aegir.echoed/0",
    Heartbeat = "aegir.heartbeat/0",
    CatalogMessage = "aegir.catalog/0",
}

/// What `aegir.transcripts.<frontend>` carries.
#[derive(Clone, Debug, PartialEq)]
pub enum ToFrontend {
    /// A piece of a transcript.
    Chunk(Chunk, Bytes),
    /// A node asks to start.
    Claim(Claim),
    /// The end of an attempt without `finished`.
    Report(Report),
    /// What a backend can do, and the same as it came, of which a newer version may understand more.
    Catalog(Box<CatalogMessage>, Box<str>),
    /// The answer to an echo.
    Echoed(Echoed),
}

/// What `aegir.control.<node>` carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToNode {
    /// The answer to a claim.
    Grant(Grant),
    /// How much is committed.
    Receipt(Receipt),
    /// What is missing.
    Replay(Replay),
    /// Stop sending the transcript of an attempt that is not known.
    Unknown(Unknown),
    /// Call an attempt off.
    Cancel(Cancel),
    /// Send the catalog.
    CatalogWanted(CatalogWanted),
    /// Answer this.
    Echo(Echo),
}

/// Why a message can't be handled. Each has a [`Code`], which becomes the reason on the dead-letter queue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not the envelope.
    #[error("not a message: {0}")]
    Envelope(Misread),
    /// A chunk without its header.
    #[error("not a chunk: there is no line with its header")]
    NoHeader,
    /// A schema that this version does not know.
    #[error("schema {0:?} is not known here")]
    UnknownSchema(String),
    /// A newer major version of a known schema.
    #[error(
        "schema {0:?} is newer than this version understands: upgrade this daemon, then replay the message"
    )]
    TooNew(String),
    /// A known schema on a queue that does not carry it.
    #[error("schema {0:?} does not belong on this queue")]
    Misplaced(String),
    /// The body does not fit its schema.
    #[error("the body of {schema} is not valid: {error}")]
    Body {
        /// The schema's name.
        schema: &'static str,
        /// What is wrong, and where in the whole message.
        error: Misread,
    },
    /// More bytes than a message may have.
    #[error("{size} bytes are more than the {limit} that a message may have")]
    TooLarge {
        /// How many it has.
        size: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A chunk whose payload is not what its header says.
    #[error("the chunk's payload is damaged: {0}")]
    Damaged(String),
}

impl DecodeError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Envelope(_) | Self::NoHeader | Self::Body { .. } | Self::Damaged(_) => {
                Code::MessageMalformed
            }
            Self::UnknownSchema(_) => Code::SchemaUnknown,
            Self::TooNew(_) => Code::SchemaTooNew,
            Self::Misplaced(_) => Code::MessageMisplaced,
            Self::TooLarge { .. } => Code::MessageTooLarge,
        }
    }

    /// Where in the message it was found, if it was at one place. It quotes no value.
    #[must_use]
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Envelope(error) | Self::Body { error, .. } => Some(error.place()),
            Self::NoHeader
            | Self::UnknownSchema(_)
            | Self::TooNew(_)
            | Self::Misplaced(_)
            | Self::TooLarge { .. }
            | Self::Damaged(_) => None,
        }
    }
}

#[derive(Serialize)]
struct Outgoing<'a, M> {
    schema: &'static str,
    body: &'a M,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    schema: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// A message whose body is still to be read.
struct Incoming<'a> {
    schema: String,
    body: &'a str,
    /// What stands before the body.
    before: &'a [u8],
}

/// A message as bytes, envelope included.
#[must_use]
pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    let outgoing = Outgoing { schema: M::SCHEMA, body: message };
    serde_json::to_vec(&outgoing).expect("protocol types have string keys and no failing serializers")
}

/// A chunk as bytes: the envelope's line, then the payload.
#[must_use]
pub fn encode_chunk(header: &Chunk, payload: &[u8]) -> Vec<u8> {
    let mut bytes = encode(header);
    bytes.reserve_exact(payload.len() + 1);
    bytes.push(b'\n');
    bytes.extend_from_slice(payload);
    bytes
}

/// The message of one known schema.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, DecodeError> {
    let incoming = envelope(bytes)?;
    if incoming.schema != M::SCHEMA {
        return Err(unexpected(incoming.schema));
    }
    match M::UNKNOWN {
        UnknownFields::Ignore => {}
        UnknownFields::Refuse => drop(read_envelope(bytes, UnknownFields::Refuse)?),
    }
    body(&incoming)
}

/// A message from a transcripts queue.
///
/// # Errors
/// When the bytes are not a message that belongs there; a chunk's length and CRC are checked too.
pub fn decode_to_frontend(content_type: Option<&str>, bytes: &Bytes) -> Result<ToFrontend, DecodeError> {
    if content_type == Some(CHUNK_CONTENT_TYPE) {
        return decode_chunk(bytes).map(|(header, payload)| ToFrontend::Chunk(header, payload));
    }
    let incoming = envelope(bytes)?;
    match incoming.schema.as_str() {
        Claim::SCHEMA => body(&incoming).map(ToFrontend::Claim),
        Report::SCHEMA => body(&incoming).map(ToFrontend::Report),
        CatalogMessage::SCHEMA => {
            body(&incoming).map(|catalog| ToFrontend::Catalog(Box::new(catalog), incoming.body.into()))
        }
        Echoed::SCHEMA => body(&incoming).map(ToFrontend::Echoed),
        _ => Err(unexpected(incoming.schema)),
    }
}

/// A message from a control queue.
///
/// # Errors
/// When the bytes are not a message that belongs there.
pub fn decode_to_node(bytes: &[u8]) -> Result<ToNode, DecodeError> {
    let incoming = envelope(bytes)?;
    match incoming.schema.as_str() {
        Grant::SCHEMA => body(&incoming).map(ToNode::Grant),
        Receipt::SCHEMA => body(&incoming).map(ToNode::Receipt),
        Replay::SCHEMA => body(&incoming).map(ToNode::Replay),
        Unknown::SCHEMA => body(&incoming).map(ToNode::Unknown),
        Cancel::SCHEMA => body(&incoming).map(ToNode::Cancel),
        CatalogWanted::SCHEMA => body(&incoming).map(ToNode::CatalogWanted),
        Echo::SCHEMA => body(&incoming).map(ToNode::Echo),
        _ => Err(unexpected(incoming.schema)),
    }
}

fn decode_chunk(bytes: &Bytes) -> Result<(Chunk, Bytes), DecodeError> {
    /// Room for the envelope's line.
    const MAX_HEADER: usize = 4096;
    let limit = MAX_CHUNK + MAX_HEADER;
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { size: bytes.len(), limit });
    }
    let end = bytes.iter().take(MAX_HEADER).position(|&byte| byte == b'\n').ok_or(DecodeError::NoHeader)?;
    let header: Chunk = decode(&bytes[..end])?;
    let payload = bytes.slice(end + 1..);
    if payload.len() != header.length as usize {
        let damage = format!("{} bytes came, {} were announced", payload.len(), header.length);
        return Err(DecodeError::Damaged(damage));
    }
    if crc32c::crc32c(&payload) != header.crc32c {
        return Err(DecodeError::Damaged("its CRC-32C does not match".to_owned()));
    }
    Ok((header, payload))
}

fn envelope(bytes: &[u8]) -> Result<Incoming<'_>, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::TooLarge { size: bytes.len(), limit: MAX_MESSAGE });
    }
    read_envelope(bytes, UnknownFields::Ignore)
}

fn read_envelope(bytes: &[u8], unknown: UnknownFields) -> Result<Incoming<'_>, DecodeError> {
    let Envelope { schema, body } = read::from_json(bytes, unknown).map_err(DecodeError::Envelope)?;
    let body = body.get();
    // The body is a part of the bytes, because it is borrowed from them.
    let before = &bytes[..(body.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize).min(bytes.len())];
    Ok(Incoming { schema, body, before })
}

fn body<M: Message>(incoming: &Incoming<'_>) -> Result<M, DecodeError> {
    read::from_json(incoming.body.as_bytes(), M::UNKNOWN).map_err(|error| {
        let error = error.within("/body", incoming.before);
        DecodeError::Body { schema: M::SCHEMA, error }
    })
}

/// Why a schema is not the one that was looked for.
fn unexpected(schema: String) -> DecodeError {
    if KNOWN.contains(&schema.as_str()) {
        return DecodeError::Misplaced(schema);
    }
    let split = |text: &str| {
        let (name, major) = text.rsplit_once('/')?;
        Some((name.to_owned(), major.parse::<u32>().ok()?))
    };
    let newer = split(&schema).is_some_and(|(name, major)| {
        KNOWN.iter().filter_map(|known| split(known)).any(|(known, at)| known == name && major > at)
    });
    if newer {
        DecodeError::TooNew(schema)
    } else {
        DecodeError::UnknownSchema(schema.chars().take(64).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Attempt, OperationId};

    fn chunk(payload: &[u8]) -> Chunk {
        Chunk {
            operation: OperationId::generate(),
            attempt: Attempt::FIRST,
            node: "node1".parse().unwrap(),
            offset: 7,
            length: u32::try_from(payload.len()).unwrap(),
            crc32c: crc32c::crc32c(payload),
        }
    }

    #[test]
    fn a_chunk_comes_back_as_it_went() {
        let payload = b"{\"seq\":1}\n{\"seq\":2}\n\0\xff\n";
        let header = chunk(payload);
        let bytes = Bytes::from(encode_chunk(&header, payload));
        let ToFrontend::Chunk(decoded, rest) = decode_to_frontend(Some(CHUNK_CONTENT_TYPE), &bytes).unwrap()
        else {
            panic!("not a chunk")
        };
        assert_eq!(decoded, header);
        assert_eq!(rest.as_ref(), payload);
    }

    #[test]
    fn a_damaged_chunk_is_refused() {
        let payload = b"{\"seq\":1}\n";
        let mut bytes = encode_chunk(&chunk(payload), payload);
        let last = bytes.len() - 2;
        bytes[last] ^= 1;
        let error = decode_to_frontend(Some(CHUNK_CONTENT_TYPE), &bytes.into()).unwrap_err();
        assert!(matches!(error, DecodeError::Damaged(_)), "{error}");
    }

    #[test]
    fn what_can_not_be_handled_says_why() {
        let code = |text: &str| decode_to_node(text.as_bytes()).unwrap_err().code();
        assert_eq!(code("not JSON"), Code::MessageMalformed);
        assert_eq!(code("{}"), Code::MessageMalformed);
        assert_eq!(code(r#"{"schema":"x/0","body":{}}"#), Code::SchemaUnknown);
        assert_eq!(code(r#"{"schema":"aegir.grant/1","body":{}}"#), Code::SchemaTooNew);
        assert_eq!(code(r#"{"schema":"aegir.claim/0","body":{}}"#), Code::MessageMisplaced);
        assert_eq!(code(r#"{"schema":"aegir.grant/0","body":{}}"#), Code::MessageMalformed);
        assert_eq!(code(&"x".repeat(MAX_MESSAGE + 1)), Code::MessageTooLarge);
    }

    #[test]
    fn what_is_wrong_has_its_place_in_the_whole_message() {
        let error = |text: &str| decode_to_node(text.as_bytes()).unwrap_err();
        let wrong = error("{\"schema\":\"aegir.replay/0\",\n \"body\":{\"operation\":\"x\"}}");
        assert_eq!(wrong.place().unwrap(), "/body/operation (line 2 column 24)");
        let text = wrong.to_string();
        assert!(text.ends_with("at /body/operation (line 2 column 24)"), "{text}");
        assert_eq!(error("{\"schema\": x}").place().unwrap(), "line 1 column 12");
        assert_eq!(error("{\"schema\": 3}").place().unwrap(), "/schema (line 1 column 12)");
    }

    #[test]
    fn an_array_is_neither_envelope_nor_body() {
        let id = OperationId::generate();
        let body = format!(r#"{{"operation":"{id}","attempt":1,"offset":3}}"#);
        let malformed = |text: String| {
            assert_eq!(decode_to_node(text.as_bytes()).unwrap_err().code(), Code::MessageMalformed);
        };
        malformed(format!(r#"["aegir.replay/0",{body}]"#));
        malformed(format!(r#"{{"schema":"aegir.replay/0","body":["{id}",1,3]}}"#));
    }

    #[test]
    fn a_request_says_nothing_that_is_not_known() {
        let text = |more: &str, host: &str| {
            format!(
                r#"{{"schema":"aegir.request/0"{more},"body":{{"name":"a.b","target":{{"kind":"site","name":"x"}},"hosts":[{{"name":"web1"{host}}}]}}}}"#
            )
        };
        let place = |text: String| decode::<Request>(text.as_bytes()).unwrap_err().place().unwrap();
        assert!(decode::<Request>(text("", "").as_bytes()).is_ok());
        assert!(place(text("", r#","adress":"::1""#)).starts_with("/body/hosts/0/adress "));
        assert!(place(text(r#","idempotency_key":"x""#, "")).starts_with("/idempotency_key "));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let id = OperationId::generate();
        let text = format!(
            r#"{{"schema":"aegir.replay/0","sent_by":"x","body":{{"operation":"{id}","attempt":1,"offset":3,"new":[]}}}}"#
        );
        let replay = Replay { operation: id, attempt: Attempt::FIRST, offset: 3 };
        assert_eq!(decode_to_node(text.as_bytes()).unwrap(), ToNode::Replay(replay));
    }
}
