//! How fast a transcript is verified: `cargo run --release -p aegir-transcript --example verify_speed`.

use std::time::Instant;

use aegir_protocol::limits::{MAX_CHUNK, MAX_OUTPUT};
use aegir_protocol::record::{Output, Record, Stream};
use aegir_transcript::Verifier;
use jiff::Timestamp;

fn main() {
    let line = format!("{}\n", "log ".repeat(25));
    for (what, bytes) in [("records of 64 KiB", MAX_OUTPUT), ("records of one line", line.len())] {
        let text = line.repeat(bytes / line.len());
        let record = Record::Output(Output::new(1, Stream::Stdout, None, 1, false, text.as_bytes()));
        let mut transcript = Vec::new();
        let mut seq = 0;
        while transcript.len() < 256 * 1024 * 1024 {
            seq += 1;
            transcript.extend(record.to_line(seq, Timestamp::now()));
        }
        let mut verifier = Verifier::new();
        let mut rest = &transcript[..];
        let start = Instant::now();
        while !rest.is_empty() {
            let most = &rest[..rest.len().min(MAX_CHUNK)];
            let end = most.iter().rposition(|&byte| byte == b'\n').expect("a record fits a chunk") + 1;
            verifier.push(&rest[..end], |_, _| {}).expect("what was just written is valid");
            rest = &rest[end..];
        }
        let seconds = start.elapsed().as_secs_f64();
        let megabytes = transcript.len() as f64 / 1e6;
        println!("{what}: {:.0} MB/s, {:.0} records/s", megabytes / seconds, seq as f64 / seconds);
    }
}
