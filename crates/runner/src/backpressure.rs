//! Room for what children print.
//!
//! Two things can be full. The **disk**: the transcript's next record can't be written, is kept in memory, and is
//! written when there is room again. The **spool**: dispatcherd says that relayd has received too little of what
//! was written. In both cases nothing is read of the children; they block on their pipes and go on afterwards.
//! A cancel or a time that is over ends the Task all the same.
//!
//! Both sides tell each other by locks on empty files: a lock takes no room on a full disk, and it ends with the
//! process that holds it, so that nobody waits for what a dead one has said.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::lock::locked;
use aegir_service::io_error::is_transient;
use aegir_transcript::FileChanges;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;

/// How often it is looked whether there is room again.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// So much must fit on the disk before a Task begins: its files are small.
const PROBE: usize = 64 * 1024;

/// Whether there is room, and the runner's word to dispatcherd that there is none.
#[derive(Debug)]
pub(super) struct Backpressure {
    directory: AttemptDirectory,
    /// What dispatcherd says of the spool.
    spool_full: watch::Receiver<bool>,
    /// Locked while the disk is full.
    full: Option<File>,
}

impl Backpressure {
    /// The room of an attempt.
    pub(super) fn new(directory: AttemptDirectory, spool_full: watch::Receiver<bool>) -> Self {
        Self { directory, spool_full, full: None }
    }

    /// Whether dispatcherd says that the spool is full.
    pub(super) fn spool_full(&self) -> bool {
        *self.spool_full.borrow()
    }

    /// The disk has no room, or has again. dispatcherd sees it; if it can't be told, the work goes on as well.
    pub(super) fn disk_is_full(&mut self, full: bool) {
        if !full {
            self.full = None;
        } else if self.full.is_none() {
            self.full = lock(&self.directory.full()).ok();
        }
    }

    /// Whether the disk takes what a Task writes before its child starts. Anything but a lack of room is for the
    /// Task to find out, which can say more about it.
    pub(super) fn disk_has_space(&self) -> bool {
        let path = self.directory.path().join("probe");
        let written = std::fs::write(&path, [0; PROBE]);
        let _ = std::fs::remove_file(&path);
        !written.is_err_and(|error| is_transient(&error))
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let file = File::create(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Whether dispatcherd holds the lock on this file.
pub(super) fn held(hold: &Path) -> bool {
    locked(hold).unwrap_or(false)
}

/// Passes on whether dispatcherd holds the lock that says that the spool is full. Ends when the directory can't be
/// watched any more; then the spool counts as having room.
pub(super) async fn watch_spool(path: PathBuf, mut changes: FileChanges, full: watch::Sender<bool>) {
    loop {
        let held = held(&path);
        full.send_if_modified(|said| std::mem::replace(said, held) != held);
        if held {
            // Nothing tells when a lock is let go.
            tokio::time::sleep(LOOK_AGAIN).await;
        } else if let Err(error) = changes.changed().await {
            tracing::error!(%error, "the spool's limit is not heeded any more: the directory can't be watched");
            return;
        }
    }
}
