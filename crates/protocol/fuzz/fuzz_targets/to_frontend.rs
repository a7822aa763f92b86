//! What nodes send to a frontend.
#![no_main]

use aegir_catalog::Catalog;
use aegir_protocol::message::{CHUNK_CONTENT_TYPE, ToFrontend, decode_to_frontend};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(ToFrontend::Catalog(message, _)) = decode_to_frontend(None, &Bytes::copy_from_slice(data)) {
        let _ = Catalog::from(*message);
    }
    let _ = decode_to_frontend(Some(CHUNK_CONTENT_TYPE), &Bytes::copy_from_slice(data));
});
