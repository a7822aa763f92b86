//! The last record of a transcript.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::record::{Finished, Header, Record};

/// The `finished` record that a transcript ends with, and the transcript's length in bytes. `None` when
/// there is no transcript, or it does not end so.
///
/// # Errors
/// When the file can't be read.
pub fn finished(path: &Path) -> io::Result<Option<(Finished, u64)>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let last = length.min(MAX_RECORD as u64);
    let mut bytes = vec![0; usize::try_from(last).unwrap_or(MAX_RECORD)];
    file.read_exact_at(&mut bytes, length - last)?;
    let Some(body) = bytes.strip_suffix(b"\n") else { return Ok(None) };
    let start = body.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    let record = Header::read(&body[start..]).and_then(|header| header.record());
    Ok(match record {
        Ok(Some(Record::Finished(finished))) => Some((finished, length)),
        Ok(_) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::code::Code;
    use aegir_protocol::record::Progress;
    use aegir_protocol::state::Outcome;
    use jiff::Timestamp;

    #[test]
    fn only_a_whole_finished_record_at_the_end_counts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transcript");
        let progress = Record::Progress(Progress { task: 1, percent: 3, message: None });
        let progress = progress.to_line(1, Timestamp::UNIX_EPOCH);
        let last = Finished {
            outcome: Outcome::Succeeded,
            reason: Code::Completed.because("done"),
            records: 2,
            sha256: "x".to_owned(),
        };
        let line = Record::Finished(last.clone()).to_line(2, Timestamp::UNIX_EPOCH);
        assert_eq!(finished(&path).unwrap(), None);
        for bytes in [&b""[..], &progress, &line[..line.len() - 1], b"\n"] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(finished(&path).unwrap(), None);
        }
        let all = [progress, line].concat();
        std::fs::write(&path, &all).unwrap();
        assert_eq!(finished(&path).unwrap(), Some((last, all.len() as u64)));
    }
}
