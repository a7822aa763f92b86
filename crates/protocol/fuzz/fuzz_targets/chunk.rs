//! A chunk whose payload is what its header says: damage to either is found, and no sum overflows.
#![no_main]

use aegir_protocol::message::{CHUNK_CONTENT_TYPE, ToFrontend, decode_to_frontend, encode_chunk};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(ToFrontend::Chunk(header, payload)) = decode_to_frontend(Some(CHUNK_CONTENT_TYPE), &bytes) {
        assert_eq!(usize::try_from(header.length), Ok(payload.len()));
        let again = Bytes::from(encode_chunk(&header, &payload));
        let again = decode_to_frontend(Some(CHUNK_CONTENT_TYPE), &again);
        assert_eq!(again, Ok(ToFrontend::Chunk(header, payload)));
    }
});
