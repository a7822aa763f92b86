//! How an attempt ended: what must still be told, and what stays.

use std::fs::File;
use std::io;

use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{Cancel, Report, Unknown};
use aegir_protocol::name::FrontendName;
use aegir_protocol::state::{Outcome, Reason};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{Journal, JournalError, write_atomically};

/// `report.json`: the end that relayd must still be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingReport {
    /// Who must be told.
    pub frontend: FrontendName,
    pub report: Report,
}

/// `ended.json`: what is left of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// `aegir.ended/0`.
    pub schema: String,
    /// Of which attempt.
    pub attempt: AttemptId,
    /// How it ended; absent when relayd did not let this node start it.
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    /// When this was written, by this node's clock. For people; the file's own time counts.
    pub at: Timestamp,
}

/// The `schema` of a tombstone.
const TOMBSTONE_SCHEMA: &str = "aegir.ended/0";

impl Tombstone {
    /// An attempt ended, and relayd knows.
    #[must_use]
    pub fn ended(attempt: AttemptId, outcome: Outcome, reason: Reason) -> Self {
        Self { outcome: Some(outcome), ..Self::refused(attempt, Some(reason)) }
    }

    /// relayd did not let this node start the attempt.
    #[must_use]
    pub fn refused(attempt: AttemptId, reason: Option<Reason>) -> Self {
        let schema = TOMBSTONE_SCHEMA.to_owned();
        Self { schema, attempt, outcome: None, reason, at: Timestamp::now() }
    }

    /// Whether nothing ran here because relayd said no.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        self.outcome.is_none()
    }

    /// The tombstone in this directory.
    ///
    /// # Errors
    /// When there is none, or it can't be understood.
    pub fn read(directory: &AttemptDirectory) -> Result<Self, JournalError> {
        let path = directory.tombstone();
        std::fs::read(&path)
            .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
            .map_err(JournalError::new("read", &path))
    }
}

impl Journal {
    /// Leaves word for an attempt's runner that it is called off.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write_cancel(&self, cancel: &Cancel) -> Result<(), JournalError> {
        let attempt = AttemptId { operation: cancel.operation, attempt: cancel.attempt };
        let bytes = serde_json::to_vec(cancel).expect("a cancel has string keys");
        let path = self.directory(attempt).cancel();
        match write_atomically(&path, &bytes) {
            // That it is there stops the runner. An empty file takes no room; who asked gets lost.
            Err(error) if error.is_full() => {
                let made = File::options().create(true).append(true).open(&path);
                made.map(drop).map_err(JournalError::new("create", &path))
            }
            placed => placed,
        }
    }

    /// Marks an attempt that relayd does not know.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn mark_unknown(&self, unknown: &Unknown) -> Result<(), JournalError> {
        let attempt = AttemptId { operation: unknown.operation, attempt: unknown.attempt };
        let bytes = serde_json::to_vec(unknown).expect("such a message has string keys");
        write_atomically(&self.directory(attempt).unknown(), &bytes)
    }

    /// Keeps what must be told until it is told.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_report(&self, attempt: AttemptId, pending: &PendingReport) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec(pending).expect("a report has string keys");
        write_atomically(&self.directory(attempt).report(), &bytes)
    }

    /// Lets go of a transcript: keeps what must be told, then removes the bytes. On a full disk they go first, and the
    /// file stays until that is written: without both the attempt would look as if it had never started.
    ///
    /// # Errors
    /// When it can't be written or removed; it may be tried again.
    pub fn forget_transcript(&self, attempt: AttemptId, pending: &PendingReport) -> Result<(), JournalError> {
        let transcript = self.directory(attempt).transcript();
        match self.keep_report(attempt, pending) {
            Err(error) if error.is_full() => {
                let emptied = File::options().write(true).open(&transcript).and_then(|file| file.set_len(0));
                emptied.map_err(JournalError::new("empty", &transcript))?;
                self.keep_report(attempt, pending)?;
            }
            kept => kept?,
        }
        match std::fs::remove_file(&transcript) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(JournalError::new("remove", &transcript)(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends an attempt. What is beside the tombstone goes at once, unless the journal keeps spools; one
    /// that was lost is kept for a day in any case, because its `runner.log` may say what happened.
    ///
    /// # Errors
    /// When the tombstone can't be written or the rest not be removed; the next sweep removes it then.
    pub fn end(&self, tombstone: &Tombstone) -> Result<(), JournalError> {
        let directory = self.directory(tombstone.attempt);
        let bytes = serde_json::to_vec(tombstone).expect("a tombstone has string keys");
        write_atomically(&directory.tombstone(), &bytes)?;
        if self.retention.is_zero() && tombstone.outcome != Some(Outcome::Lost) {
            self.remove_spool(&directory)?;
        }
        Ok(())
    }

    /// Removes everything but the tombstone.
    pub(super) fn remove_spool(&self, directory: &AttemptDirectory) -> Result<(), JournalError> {
        let path = directory.path();
        let read = |error| JournalError::new("read", path)(error);
        for entry in std::fs::read_dir(path).map_err(read)? {
            let entry = entry.map_err(read)?;
            let beside = entry.path();
            if beside == directory.tombstone() {
                continue;
            }
            let removed = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                std::fs::remove_dir_all(&beside)
            } else {
                std::fs::remove_file(&beside)
            };
            removed.map_err(JournalError::new("remove", &beside))?;
        }
        Ok(())
    }
}
