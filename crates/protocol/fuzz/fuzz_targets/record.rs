//! A line of a transcript.
#![no_main]

use aegir_protocol::record::{Header, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = Header::read(data) else { return };
    if let Ok(Some(Record::Output(output))) = header.record() {
        let _ = output.bytes();
    }
});
