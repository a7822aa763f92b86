//! An Operation: what is read can be written, and is the same when it is read again.
#![no_main]

use aegir_protocol::message::{decode, encode};
use aegir_protocol::operation::Operation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(operation) = decode::<Operation>(data) {
        let again: Operation = decode(&encode(&operation)).expect("what was written can be read");
        assert_eq!(again, operation);
    }
});
