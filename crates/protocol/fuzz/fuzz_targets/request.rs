//! A request, and what is kept of one that nobody could handle: nothing that is marked as a secret.
#![no_main]

use aegir_protocol::message::decode;
use aegir_protocol::redact::{Redacted, redact};
use aegir_protocol::request::{Request, secret};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let request = decode::<Request>(data);
    let kept = match redact(data, []) {
        Redacted::Unchanged => data.to_vec(),
        Redacted::Changed(changed) => changed,
        // What can be read can be searched.
        Redacted::Unsearchable => return assert!(request.is_err()),
    };
    if let Ok(kept) = decode::<Request>(&kept) {
        let values = kept.variables.values().flat_map(|values| values.values());
        assert!(values.filter_map(secret).all(|value| value == "(removed)"));
    }
});
