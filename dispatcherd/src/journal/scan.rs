//! What the journal holds when dispatcherd starts.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::lock::alive;
use aegir_protocol::id::{Attempt, AttemptId};
use aegir_protocol::message;
use aegir_protocol::name::FrontendName;
use aegir_protocol::operation::Operation;

use super::ended::PendingReport;
use super::files::{Journal, JournalError};

/// An attempt that is not over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredAttempt {
    pub attempt: AttemptId,
    pub frontend: FrontendName,
    /// How urgent it is; of no meaning once it is over.
    pub priority: u8,
    /// Where it stands.
    pub state: RecoveredState,
}

/// Where an attempt stands, by its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveredState {
    /// Delivered and acknowledged, not started.
    Journaled,
    /// A runner was started.
    Started,
    /// Over, and relayd must still be told.
    Reporting(PendingReport),
}

impl Journal {
    /// Every attempt that is not over, the oldest first. A torn `operation.json` is removed: it was never
    /// acknowledged, so the broker has it still. Blocks on the disk.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn scan(&self) -> Result<Vec<RecoveredAttempt>, JournalError> {
        let mut found = Vec::new();
        for (operation, path) in numbered(&self.root())? {
            for (attempt, _) in numbered(&path)? {
                let (Ok(operation), Some(attempt)) =
                    (operation.parse(), attempt.parse().ok().and_then(Attempt::new))
                else {
                    continue;
                };
                let attempt = AttemptId { operation, attempt };
                let directory = self.directory(attempt);
                if let Some(state) = self.recovered(attempt, &directory)? {
                    found.push((journaled_at(&directory), state));
                }
            }
        }
        found.sort_by(|(a, one), (b, other)| a.cmp(b).then(one.attempt.cmp(&other.attempt)));
        Ok(found.into_iter().map(|(_, found)| found).collect())
    }

    fn recovered(
        &self,
        attempt: AttemptId,
        directory: &AttemptDirectory,
    ) -> Result<Option<RecoveredAttempt>, JournalError> {
        if directory.tombstone().exists() {
            return Ok(None);
        }
        let report = directory.report();
        if report.exists() {
            let pending: PendingReport = std::fs::read(&report)
                .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
                .map_err(JournalError::new("read", &report))?;
            let frontend = pending.frontend.clone();
            return Ok(Some(RecoveredAttempt {
                attempt,
                frontend,
                priority: 0,
                state: RecoveredState::Reporting(pending),
            }));
        }
        let Some(operation) = self.operation(attempt).ok().filter(|found| found.attempt_id() == attempt)
        else {
            discard(attempt, directory);
            return Ok(None);
        };
        // A runner that has its lock and no transcript yet waits for room on the disk.
        let alive = alive(directory).map_err(JournalError::new("read", &directory.lock()))?;
        let state = if directory.transcript().exists() || alive {
            RecoveredState::Started
        } else {
            // An earlier process may have died between writing and syncing; it comes again from the
            // broker then, is known, and is acknowledged: so it has to be on the disk now.
            let path = directory.operation();
            for path in [&path, directory.path()] {
                File::open(path).and_then(|file| file.sync_all()).map_err(JournalError::new("sync", path))?;
            }
            RecoveredState::Journaled
        };
        Ok(Some(RecoveredAttempt {
            attempt,
            frontend: operation.frontend,
            priority: operation.priority,
            state,
        }))
    }

    /// The Operation of an attempt, as it was delivered.
    ///
    /// # Errors
    /// When it is not there, or torn.
    pub fn operation(&self, attempt: AttemptId) -> Result<Operation, JournalError> {
        let path = self.directory(attempt).operation();
        std::fs::read(&path)
            .and_then(|bytes| {
                message::decode(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            })
            .map_err(JournalError::new("read", &path))
    }
}

/// Takes a directory that has neither a whole Operation nor an end out of the way. One that has a
/// transcript all the same is an operator's to look at.
fn discard(attempt: AttemptId, directory: &AttemptDirectory) {
    if directory.transcript().exists() {
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), path = %directory.path().display(),
            "an attempt has a transcript but no whole operation.json; it is left as it is"
        );
        return;
    }
    tracing::warn!(
        operation_id = %attempt.operation, attempt = attempt.attempt.get(),
        "a torn operation.json was removed; it was never acknowledged and comes again"
    );
    let _ = std::fs::remove_dir_all(directory.path());
    if let Some(parent) = directory.path().parent() {
        let _ = std::fs::remove_dir(parent);
    }
}

fn journaled_at(directory: &AttemptDirectory) -> SystemTime {
    std::fs::metadata(directory.operation())
        .and_then(|metadata| metadata.modified())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The subdirectories of a directory by name.
pub(super) fn numbered(path: &Path) -> Result<Vec<(String, std::path::PathBuf)>, JournalError> {
    let read = |error| JournalError::new("read", path)(error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        if entry.file_type().map_err(read)?.is_dir() {
            found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    Ok(found)
}
