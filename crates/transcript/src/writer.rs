//! Appending to a transcript. The runner is the only writer, and a transcript has one writer in its life.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::record::{Finished, Record};
use aegir_protocol::state::{Outcome, Reason};
use jiff::Timestamp;

use crate::digest::Digest;
use crate::shorten::shortened;

/// Writes a transcript, one record and one `write(2)` at a time.
///
/// After an error the file ends with the last whole record, or, if even that can't be had, with one torn
/// line that the next append takes away. The record that met the error was not written and may be appended
/// again once the cause is gone.
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    /// The number of the last record.
    seq: u64,
    /// Where the last record ends.
    end: u64,
    digest: Digest,
    /// Whether bytes of a record that failed are behind `end`.
    torn: bool,
    /// Whether the file's name is on the disk.
    named: bool,
    finished: bool,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Its number, from 1.
    pub seq: u64,
    /// The offset in bytes at which it ends: the transcript's length after it.
    pub end: u64,
}

/// Why a record was not appended.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is a transcript already. One attempt is carried out once.
    #[error("{path} exists: this attempt has been started before, and is not started again")]
    Exists {
        /// The transcript.
        path: PathBuf,
    },
    /// The file can't be made.
    #[error("can't create {path}")]
    Create {
        /// The transcript.
        path: PathBuf,
        source: io::Error,
    },
    /// The record has more bytes than a record may have, and can't be shortened.
    #[error("a {kind} record of {bytes} bytes is larger than the {MAX_RECORD} that a record may have")]
    TooLarge {
        /// The record's kind.
        kind: &'static str,
        /// Its length as a line.
        bytes: usize,
    },
    /// No space is left. Nothing is lost yet: make room, and append again.
    #[error("no space is left for {path} at {offset} bytes: make room on its file system")]
    Full {
        /// The transcript.
        path: PathBuf,
        /// Where it ends.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The file system is read-only now. Nothing is lost yet.
    #[error("the file system of {path} is read-only: mount it read-write again")]
    ReadOnly {
        /// The transcript.
        path: PathBuf,
        /// Where it ends.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The write failed.
    #[error("can't write to {path} at {offset} bytes")]
    Write {
        /// The transcript.
        path: PathBuf,
        /// Where it ends.
        offset: u64,
        source: io::Error,
    },
    /// The write failed before, and what it left behind can't be taken away.
    #[error("can't cut {path} back to its last whole record at {offset} bytes")]
    Torn {
        /// The transcript.
        path: PathBuf,
        /// Where the last whole record ends.
        offset: u64,
        source: io::Error,
    },
    /// What was written may not be on the disk.
    #[error("can't sync {path}: what was written may be lost if the machine stops")]
    Sync {
        /// The transcript.
        path: PathBuf,
        source: io::Error,
    },
    /// Nothing follows a `finished` record.
    #[error("{path} is finished: nothing can follow")]
    Finished {
        /// The transcript.
        path: PathBuf,
    },
}

impl WriteError {
    /// Whether the same record may be appended later, when the file system takes it again. Anything else, such as
    /// a disk that fails, may have cost bytes that were written before, and waiting would not bring them back.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } => true,
            Self::Torn { source, .. } => Refusal::of(source).is_some(),
            Self::Exists { .. }
            | Self::Create { .. }
            | Self::TooLarge { .. }
            | Self::Write { .. }
            | Self::Sync { .. }
            | Self::Finished { .. } => false,
        }
    }
}

/// Why a file system takes nothing at the moment.
enum Refusal {
    Full,
    ReadOnly,
}

impl Refusal {
    fn of(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Self::Full),
            io::ErrorKind::ReadOnlyFilesystem => Some(Self::ReadOnly),
            _ => None,
        }
    }
}

impl Writer {
    /// Makes the file (mode 0640), which must not exist.
    ///
    /// # Errors
    /// When it exists or can't be made.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        // Appending, so that what follows a cut lands at the new end and leaves no hole.
        let opened = OpenOptions::new().append(true).create_new(true).mode(0o640).open(path);
        match opened {
            Ok(file) => Ok(Self::over(file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(WriteError::Exists { path: path.to_owned() })
            }
            Err(source) => Err(WriteError::Create { path: path.to_owned(), source }),
        }
    }

    fn over(file: File, path: &Path) -> Self {
        Self {
            file,
            path: path.to_owned(),
            seq: 0,
            end: 0,
            digest: Digest::default(),
            torn: false,
            named: false,
            finished: false,
        }
    }

    /// Where the last record stands; `seq` is 0 before the first.
    #[must_use]
    pub fn position(&self) -> Position {
        Position { seq: self.seq, end: self.end }
    }

    /// Appends a record with the next number and the current time. A `finished` record gets the right count
    /// and digest, whatever it brought, as if [`Writer::finish`] was called.
    ///
    /// Long diffs and messages are shortened when the record would not fit otherwise.
    ///
    /// # Errors
    /// When it does not fit, or was not written. It is on the disk only after [`Writer::sync`].
    pub fn append(&mut self, record: &Record) -> Result<Position, WriteError> {
        match record {
            Record::Finished(finished) => self.finish(finished.outcome, finished.reason.clone()),
            other => self.append_as_it_is(other),
        }
    }

    /// Appends the last record and syncs.
    ///
    /// # Errors
    /// When it was not written, or not synced. It may be tried again in the first case.
    pub fn finish(&mut self, outcome: Outcome, reason: Reason) -> Result<Position, WriteError> {
        let records = self.seq + 1;
        let finished = Record::Finished(Finished { outcome, reason, records, sha256: self.digest.hex() });
        let position = self.append_as_it_is(&finished)?;
        self.finished = true;
        self.sync()?;
        Ok(position)
    }

    /// Brings all that was appended to the disk, the file's name included.
    ///
    /// # Errors
    /// When the system says that it could not.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        let failed = |source| WriteError::Sync { path: self.path.clone(), source };
        self.file.sync_data().map_err(failed)?;
        if !self.named {
            // Without this the machine may come back without the file, and the attempt would run twice.
            let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory = File::open(directory.unwrap_or(Path::new("."))).map_err(failed)?;
            directory.sync_all().map_err(failed)?;
            self.named = true;
        }
        Ok(())
    }

    fn append_as_it_is(&mut self, record: &Record) -> Result<Position, WriteError> {
        if self.finished {
            return Err(WriteError::Finished { path: self.path.clone() });
        }
        let seq = self.seq + 1;
        let line = fitting_line(record, seq, Timestamp::now())?;
        self.write(&line)?;
        self.digest.update(&line);
        self.seq = seq;
        self.end += line.len() as u64;
        Ok(self.position())
    }

    fn write(&mut self, line: &[u8]) -> Result<(), WriteError> {
        let offset = self.end;
        if self.torn {
            self.cut_back().map_err(|source| WriteError::Torn { path: self.path.clone(), offset, source })?;
        }
        let Err(source) = (&self.file).write_all(line) else { return Ok(()) };
        self.torn = true;
        if let Err(error) = self.cut_back() {
            tracing::warn!(path = %self.path.display(), offset, %error, "can't cut a torn record off a transcript");
        }
        let path = self.path.clone();
        Err(match Refusal::of(&source) {
            Some(Refusal::Full) => WriteError::Full { path, offset, source },
            Some(Refusal::ReadOnly) => WriteError::ReadOnly { path, offset, source },
            None => WriteError::Write { path, offset, source },
        })
    }

    fn cut_back(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.torn = false;
        Ok(())
    }
}

fn fitting_line(record: &Record, seq: u64, at: Timestamp) -> Result<Vec<u8>, WriteError> {
    let line = record.to_line(seq, at);
    if line.len() <= MAX_RECORD {
        return Ok(line);
    }
    shortened(record)
        .map(|record| record.to_line(seq, at))
        .filter(|shorter| shorter.len() <= MAX_RECORD)
        .ok_or(WriteError::TooLarge { kind: record.kind(), bytes: line.len() })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _};

    use aegir_protocol::code::Code;
    use aegir_protocol::record::{Output, Progress, Stream};
    use rustix::fs::{MemfdFlags, SealFlags};

    use super::*;

    fn progress(message: &str) -> Record {
        Record::Progress(Progress { task: 1, percent: 50, message: Some(message.to_owned()) })
    }

    #[test]
    fn a_transcript_is_made_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("transcript");
        Writer::create(&path).unwrap();
        assert!(matches!(Writer::create(&path), Err(WriteError::Exists { .. })));
    }

    #[test]
    fn a_full_disk_is_said_and_the_record_can_be_tried_again() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut writer = Writer::over(file, Path::new("/dev/full"));
        let error = writer.append(&progress("a")).unwrap_err();
        assert!(matches!(error, WriteError::Full { offset: 0, .. }), "{error:?}");
        assert!(error.is_transient());
        // A device can't be cut back either, which the next append says.
        assert!(matches!(writer.append(&progress("a")), Err(WriteError::Torn { .. })));
        assert_eq!(writer.position(), Position { seq: 0, end: 0 });
    }

    #[test]
    fn a_short_write_is_cut_back_to_the_last_whole_record() {
        // A sealed file that can't grow takes the first pages of a write and refuses the rest.
        let memory = rustix::fs::memfd_create("transcript", MemfdFlags::ALLOW_SEALING).unwrap();
        let mut file = File::from(memory);
        file.set_len(8192).unwrap();
        rustix::fs::fcntl_add_seals(&file, SealFlags::GROW).unwrap();
        let mut writer = Writer::over(file.try_clone().unwrap(), Path::new("memory"));
        let first = writer.append(&progress("first")).unwrap();
        let error = writer.append(&progress(&"x".repeat(10_000))).unwrap_err();
        assert!(matches!(error, WriteError::Write { offset, .. } if offset == first.end), "{error:?}");
        assert!(!error.is_transient());
        assert_eq!(writer.position(), first);
        let mut content = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut content).unwrap();
        assert_eq!(content.len() as u64, first.end);
        assert!(content.ends_with(b"\n"));
    }

    #[test]
    fn what_does_not_fit_and_may_not_be_cut_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&directory.path().join("transcript")).unwrap();
        let output = Output {
            task: 1,
            stream: Stream::Stdout,
            line: 1,
            continued: false,
            text: Some("x".repeat(MAX_RECORD)),
            base64: None,
            host: None,
        };
        let error = writer.append(&Record::Output(output)).unwrap_err();
        assert!(matches!(error, WriteError::TooLarge { kind: "output", .. }));
        assert_eq!(writer.append(&progress("next")).unwrap().seq, 1);
    }

    #[test]
    fn nothing_follows_finished() {
        let directory = tempfile::tempdir().unwrap();
        let mut writer = Writer::create(&directory.path().join("transcript")).unwrap();
        writer.finish(Outcome::Succeeded, Code::Completed.because("done")).unwrap();
        assert!(matches!(writer.append(&progress("late")), Err(WriteError::Finished { .. })));
    }
}
