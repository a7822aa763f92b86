//! The files of the journal, and writing those that the runner reads.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::plan::TaskPlan;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Lease;
use aegir_service::atomic::{Durability, write_durably};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// Why the journal could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {what} {}: {error}", path.display())]
pub struct JournalError {
    /// Read, write, remove.
    pub what: &'static str,
    pub path: PathBuf,
    #[source]
    pub error: io::Error,
}

impl JournalError {
    pub(super) fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self { what, path, error }
    }

    /// Whether there is no room left: on the disk, or in the user's share of it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        aegir_service::io_error::is_disk_full(&self.error)
    }
}

/// All attempts of this backend's node.
#[derive(Clone, Debug)]
pub struct Journal {
    pub(super) state: PathBuf,
    pub(super) retention: Duration,
    /// Held while a lease is written: grants of one lease can come all at once, in any order.
    pub(super) leases: Arc<Mutex<()>>,
}

impl Journal {
    /// The journal below a state directory; made when there is none. A spool stays for `retention` after
    /// its end.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub fn open(state: &Path, retention: Duration) -> Result<Self, JournalError> {
        let journal = Self { state: state.to_owned(), retention, leases: Arc::default() };
        let root = journal.root();
        std::fs::create_dir_all(&root).map_err(JournalError::new("create", &root))?;
        Ok(journal)
    }

    /// The directory of an attempt, whether it is there or not.
    #[must_use]
    pub fn directory(&self, attempt: AttemptId) -> AttemptDirectory {
        AttemptDirectory::of(&self.state, attempt)
    }

    /// Writes the plan that the runner carries out.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_plan(&self, plan: &TaskPlan) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec_pretty(plan).expect("a plan has string keys");
        write_atomically(&self.directory(plan.attempt).plan(), &bytes)
    }

    /// Lets an attempt's runner know until when it may act. Once that was written, renewing it needs no room.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep_lease(&self, attempt: AttemptId, lease: Lease) -> Result<(), JournalError> {
        let bytes = serde_json::to_vec(&lease).expect("a lease has string keys");
        let path = self.directory(attempt).lease();
        let _turn = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = lease.ends_at();
        let longer = |kept: &Lease| {
            let kept = kept.ends_at();
            kept.boot == ends.boot && kept.milliseconds >= ends.milliseconds
        };
        if self.lease(attempt).as_ref().is_some_and(longer) {
            return Ok(());
        }
        let spare = path.with_extension("spare");
        if !spare.exists() {
            write_atomically(&spare, &bytes)?;
        }
        match write_atomically(&path, &bytes) {
            Err(error) if error.is_full() => {
                exchange(&path, &spare, &bytes).map_err(JournalError::new("write", &path))
            }
            placed => placed,
        }
    }

    /// The lease of an attempt, if it has one.
    #[must_use]
    pub fn lease(&self, attempt: AttemptId) -> Option<Lease> {
        let bytes = std::fs::read(self.directory(attempt).lease()).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn root(&self) -> PathBuf {
        self.state.join("operations")
    }
}

/// Writes a file that appears whole or not at all, after a power failure too. Its name is not synced: what the file
/// says is found out again where it is missing.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
    write_durably(path, bytes, 0o600, Durability::Whole).map_err(JournalError::new("write", path))
}

/// Writes over what another small file holds, whose room is taken already, and lets the two change places: nobody
/// reads half of it.
fn exchange(path: &Path, spare: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = std::fs::File::options().write(true).open(spare)?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)?;
    Ok(renameat_with(CWD, spare, CWD, path, RenameFlags::EXCHANGE)?)
}
