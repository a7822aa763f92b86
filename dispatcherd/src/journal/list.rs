//! What the journal holds and relayd has not received, for people: nothing is changed by looking.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::lock::{alive, locked};
use aegir_protocol::id::{Attempt, AttemptId};
use aegir_protocol::message::Unknown;
use aegir_transcript::finished;

use super::ended::PendingReport;
use super::files::{Journal, JournalError};
use super::scan::numbered;

/// Where an attempt stands that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolState {
    /// Delivered and acknowledged, not started.
    Waiting,
    /// Its runner is alive.
    Running {
        /// Its children wait because the disk is full.
        disk_full: bool,
        /// They wait because the spool is full.
        spool_full: bool,
    },
    /// Its transcript is finished, and relayd has not receipted all of it.
    Finished,
    /// Its runner is gone without having finished it.
    Unfinished,
    /// relayd does not know it.
    Unknown(Unknown),
    /// Over, and relayd is still to be told.
    Reporting(PendingReport),
    /// An operator has let go of it, and the daemon has not seen that yet.
    Forgotten,
}

impl Journal {
    /// The journal below a state directory that belongs to somebody else: for looking at it.
    #[must_use]
    pub fn at(state: &Path) -> Self {
        Self { state: state.to_owned(), retention: Duration::ZERO, leases: Arc::default() }
    }

    /// Every attempt that is not over, the oldest id first. Blocks on the disk.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn not_over(&self) -> Result<Vec<(AttemptId, AttemptDirectory)>, JournalError> {
        let mut found = Vec::new();
        if !self.root().exists() {
            return Ok(found);
        }
        for (operation, path) in numbered(&self.root())? {
            let Ok(operation) = operation.parse() else { continue };
            for (attempt, _) in numbered(&path)? {
                let Some(attempt) = attempt.parse().ok().and_then(Attempt::new) else { continue };
                let attempt = AttemptId { operation, attempt };
                let directory = self.directory(attempt);
                if !directory.tombstone().exists() {
                    found.push((attempt, directory));
                }
            }
        }
        found.sort_by_key(|(attempt, _)| *attempt);
        Ok(found)
    }
}

impl SpoolState {
    /// Where the attempt in this directory stands.
    ///
    /// # Errors
    /// When its files can't be read.
    pub fn of(directory: &AttemptDirectory) -> Result<Self, JournalError> {
        if alive(directory).map_err(JournalError::new("read", &directory.lock()))? {
            let disk_full =
                locked(&directory.full()).map_err(JournalError::new("read", &directory.full()))?;
            let spool_full =
                locked(&directory.hold()).map_err(JournalError::new("read", &directory.hold()))?;
            return Ok(Self::Running { disk_full, spool_full });
        }
        if directory.report().exists() {
            return read(&directory.report()).map(Self::Reporting);
        }
        if directory.forget().exists() {
            return Ok(Self::Forgotten);
        }
        if directory.unknown().exists() {
            return read(&directory.unknown()).map(Self::Unknown);
        }
        let transcript = directory.transcript();
        if !transcript.exists() {
            return Ok(Self::Waiting);
        }
        let end = finished(&transcript).map_err(JournalError::new("read", &transcript))?;
        Ok(if end.is_some() { Self::Finished } else { Self::Unfinished })
    }

    /// The state in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running { disk_full: false, spool_full: false } => "running",
            Self::Running { .. } => "blocked",
            Self::Finished => "finished",
            Self::Unfinished => "unfinished",
            Self::Unknown(_) => "unknown",
            Self::Reporting(_) => "reporting",
            Self::Forgotten => "forgotten",
        }
    }

    /// Why it lies here.
    #[must_use]
    pub fn why(&self) -> String {
        match self {
            Self::Waiting => "it has not started".to_owned(),
            Self::Running { disk_full: true, .. } => "the disk is full; its programs wait".to_owned(),
            Self::Running { spool_full: true, .. } => "the spool is full; its programs wait".to_owned(),
            Self::Running { disk_full: false, spool_full: false } => "its runner is at work".to_owned(),
            Self::Finished => "relayd has not received all of it".to_owned(),
            Self::Unfinished => "its runner is gone; relayd has not received the rest".to_owned(),
            Self::Unknown(unknown) => format!("relayd does not know it: {}", unknown.reason),
            Self::Reporting(pending) => {
                format!("relayd does not know the end yet: {}", pending.report.reason)
            }
            Self::Forgotten => "dispatcherd removes it in a moment".to_owned(),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, JournalError> {
    std::fs::read(path)
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(io::Error::from))
        .map_err(JournalError::new("read", path))
}
