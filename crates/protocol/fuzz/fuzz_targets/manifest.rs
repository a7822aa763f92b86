//! The manifest of a role, and what is wrong with it.
#![no_main]

use aegir_catalog::manifest::Manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let _ = manifest.check();
        let _ = serde_json::to_vec(&manifest).expect("what was read can be written");
    }
});
