//! Checking a transcript on the disk.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::record::Finished;

use crate::verifier::{Verifier, VerifyError};

/// How much is read at once.
const BLOCK: usize = 1024 * 1024;

/// What was found in a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Bytes of whole records.
    pub bytes: u64,
    /// Whole records.
    pub records: u64,
    /// The last record, if there is one.
    pub finished: Option<Finished>,
    /// Where a line begins that has no end: its writer stopped in the middle of it, or is still at it.
    pub torn: Option<u64>,
    /// The first thing that is wrong. A transcript that is merely not finished has none.
    pub problem: Option<VerifyError>,
    /// Whether it is whole, and is what its writer wrote.
    pub matches: bool,
}

/// Reads a transcript from start to end and says what is in it.
///
/// # Errors
/// When the file can't be read. What is wrong with its content is in the report.
pub fn verify(path: &Path) -> io::Result<VerifyReport> {
    let mut file = File::open(path)?;
    let mut verifier = Verifier::new();
    let mut buffer = vec![0; BLOCK + MAX_RECORD];
    // Bytes of a line that has not ended yet, at the buffer's start.
    let mut held = 0;
    loop {
        let read = match file.read(&mut buffer[held..]) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let filled = held + read;
        let whole = memchr::memrchr(b'\n', &buffer[..filled]).map_or(0, |newline| newline + 1);
        let too_long = filled == buffer.len() && whole == 0;
        if whole > 0 || too_long {
            // What is wrong stays in the verifier, which goes on counting. A line that is longer than a
            // record and a block is no record however it goes on.
            let _ = verifier.push(&buffer[..if too_long { filled } else { whole }], |_, _| {});
        }
        if read == 0 || too_long {
            return Ok(report(verifier, if too_long { 0 } else { filled }));
        }
        buffer.copy_within(whole..filled, 0);
        held = filled - whole;
    }
}

fn report(verifier: Verifier, left: usize) -> VerifyReport {
    let torn = (left > 0).then_some(verifier.offset());
    VerifyReport {
        bytes: verifier.offset(),
        records: verifier.records(),
        finished: verifier.finished().cloned(),
        torn,
        problem: verifier.error().cloned(),
        matches: verifier.matches() && torn.is_none(),
    }
}
