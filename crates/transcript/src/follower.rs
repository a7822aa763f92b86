//! Reading a transcript from any record on, while it is written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::record::Header;
use bytes::Bytes;

use crate::watcher::{FileChanges, FileWatcher, WatchError};

/// Hands out a transcript's bytes, whole records only, until its `finished` record was handed out.
#[derive(Debug)]
pub struct Follower {
    file: Arc<File>,
    path: PathBuf,
    changes: FileChanges,
    /// Where the next record begins.
    offset: u64,
    /// Whether what was handed out last ended with `finished`.
    finished: bool,
}

/// Some records of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they begin, in bytes from the transcript's start.
    pub offset: u64,
    /// The records as they stand in the file; the last byte is a newline.
    pub bytes: Bytes,
    /// Whether the last of them is `finished`.
    pub finished: bool,
}

impl Piece {
    /// Where they end: the offset of what follows.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// Why a transcript can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The file can't be opened.
    #[error("can't open the transcript {path}")]
    Open { path: PathBuf, source: io::Error },
    /// The file can't be read.
    #[error("can't read the transcript {path} at {offset} bytes")]
    Read { path: PathBuf, offset: u64, source: io::Error },
    /// Nothing says when the file changes.
    #[error("can't wait for the transcript {path}")]
    Watch { path: PathBuf, source: WatchError },
    /// What was read may not be on the disk.
    #[error("can't sync the transcript {path}")]
    Sync { path: PathBuf, source: io::Error },
    /// No record begins at the offset that was asked for.
    #[error("no record of the transcript {path} begins at {offset} bytes")]
    NotABoundary { path: PathBuf, offset: u64 },
    /// The file is shorter than what was read from it before. Somebody else has written to it.
    #[error("the transcript {path} has shrunk from at least {offset} to {length} bytes")]
    Shrunk {
        path: PathBuf,
        /// What was read.
        offset: u64,
        /// What is there.
        length: u64,
    },
    /// A line is longer than any record. Somebody else has written to it.
    #[error("the line at {offset} bytes of the transcript {path} is longer than {MAX_RECORD} bytes")]
    RecordTooLong { path: PathBuf, offset: u64 },
}

impl Follower {
    /// Opens a transcript at the start of a record, or at its end.
    ///
    /// # Errors
    /// When it does not exist (see [`FileWatcher::wait_for_file`]), or no record begins at `offset`.
    pub fn open(path: &Path, offset: u64, watcher: &FileWatcher) -> Result<Self, FollowError> {
        let file = File::open(path).map_err(|source| FollowError::Open { path: path.to_owned(), source })?;
        let changes = watcher
            .watch_file(path)
            .map_err(|source| FollowError::Watch { path: path.to_owned(), source })?;
        let path = path.to_owned();
        let mut follower = Self { file: Arc::new(file), path, changes, offset: 0, finished: false };
        follower.rewind(offset)?;
        Ok(follower)
    }

    /// Where the next piece begins.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to another record, or to the end of the last one: further back or further on.
    ///
    /// # Errors
    /// When no record begins there; nothing has changed then.
    pub fn rewind(&mut self, offset: u64) -> Result<(), FollowError> {
        let length = self.file.metadata().map_err(|source| self.unreadable(source))?.len();
        if offset > length {
            return Err(FollowError::NotABoundary { path: self.path.clone(), offset });
        }
        let before = usize::try_from(offset).unwrap_or(usize::MAX).min(MAX_RECORD);
        let bytes = self.read_at(offset - before as u64, before)?;
        if bytes.len() < before || bytes.last().is_some_and(|&byte| byte != b'\n') {
            return Err(FollowError::NotABoundary { path: self.path.clone(), offset });
        }
        self.offset = offset;
        self.finished = ends_with_finished(&bytes);
        Ok(())
    }

    /// As many whole records as fit in `max_bytes`, or one that alone is larger; waits for the next record
    /// when all there are were handed out. `None` after `finished`.
    ///
    /// May be dropped at any point: what was not handed out is read again.
    ///
    /// # Errors
    /// When the file can't be read, or is no transcript.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Option<Piece>, FollowError> {
        while !self.finished {
            if let Some(piece) = self.next_there_is(max_bytes)? {
                return Ok(Some(piece));
            }
            let changed = self.changes.changed().await;
            changed.map_err(|source| FollowError::Watch { path: self.path.clone(), source })?;
        }
        Ok(None)
    }

    /// The same without waiting: `None` when no whole record is there now.
    ///
    /// It reads at once instead of in a thread for blocking calls: what is read was nearly always written a
    /// moment ago, and is copied from memory in less time than another thread takes to wake up.
    ///
    /// # Errors
    /// When the file can't be read, or is no transcript.
    pub fn next_there_is(&mut self, max_bytes: usize) -> Result<Option<Piece>, FollowError> {
        let length = self.file.metadata().map_err(|source| self.unreadable(source))?.len();
        let Some(available) = length.checked_sub(self.offset) else {
            return Err(FollowError::Shrunk { path: self.path.clone(), offset: self.offset, length });
        };
        let available = usize::try_from(available).unwrap_or(usize::MAX);
        // Nothing of a torn line is kept for the next time: its writer may cut it off and write another.
        let mut bytes = self.read_at(self.offset, available.min(max_bytes))?;
        let end = match memchr::memrchr(b'\n', &bytes) {
            Some(last) => last + 1,
            None => {
                if available > bytes.len() && bytes.len() < MAX_RECORD {
                    bytes = self.read_at(self.offset, available.min(MAX_RECORD))?;
                }
                match memchr::memchr(b'\n', &bytes) {
                    Some(first) => first + 1,
                    None if bytes.len() >= MAX_RECORD => {
                        return Err(FollowError::RecordTooLong {
                            path: self.path.clone(),
                            offset: self.offset,
                        });
                    }
                    None => return Ok(None),
                }
            }
        };
        bytes.truncate(end);
        let finished = ends_with_finished(&bytes);
        let piece = Piece { offset: self.offset, bytes: bytes.into(), finished };
        self.offset = piece.end();
        self.finished = finished;
        Ok(Some(piece))
    }

    /// Brings the file to the disk (`fdatasync`, in a thread for blocking calls). Who ships what was read
    /// calls this first: else a machine that stops could leave the copy longer than the transcript.
    ///
    /// # Errors
    /// When the system says that it could not.
    pub async fn sync_data(&self) -> Result<(), FollowError> {
        let file = Arc::clone(&self.file);
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        synced
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| FollowError::Sync { path: self.path.clone(), source })
    }

    /// Up to `length` bytes; fewer at the file's end.
    fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, FollowError> {
        let mut bytes = vec![0; length];
        let mut filled = 0;
        while filled < length {
            match self.file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.unreadable(source)),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    fn unreadable(&self, source: io::Error) -> FollowError {
        FollowError::Read { path: self.path.clone(), offset: self.offset, source }
    }
}

/// Whether the last of these lines, the first of which may be cut, is a `finished` record.
fn ends_with_finished(lines: &[u8]) -> bool {
    let Some(body) = lines.strip_suffix(b"\n") else { return false };
    let start = memchr::memrchr(b'\n', body).map_or(0, |newline| newline + 1);
    // What is no record is passed on like any other line; the one who verifies says so.
    Header::read(&body[start..]).is_ok_and(|header| header.kind == "finished")
}
