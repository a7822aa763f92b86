//! What a frontend tells a node.
#![no_main]

use aegir_protocol::message::decode_to_node;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| drop(decode_to_node(data)));
