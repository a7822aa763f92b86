//! What each queue can carry, and the envelope around it.
//!
//! A message is `{"schema": "aegir.claim/0", "body": {…}}`. Decoding takes two steps, envelope then body, so
//! that an unknown schema is an answer and not a parse error. A transcript chunk is the one message with a
//! payload: its content type is [`CHUNK_CONTENT_TYPE`], its first line is the envelope, and all bytes after
//! that line's newline are transcript.

mod bodies;
mod envelope;

pub use bodies::{
    Blocked, BootTime, Cancel, CatalogMessage, CatalogWanted, Chunk, Claim, Echo, Echoed, Grant, Heartbeat,
    Lease, Receipt, Replay, Report, Unknown,
};
pub use envelope::{
    CHUNK_CONTENT_TYPE, DecodeError, JSON_CONTENT_TYPE, Message, ToFrontend, ToNode, decode,
    decode_to_frontend, decode_to_node, encode, encode_chunk,
};
