//! The URL of a broker in a config file: accepted or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|url: &str| {
    let config = aegir_amqp::Config::from_url(url);
    let _ = config.address();
    let _ = config.check();
});
