//! Taking Operations in: once this has returned, a power failure does not lose them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message;
use aegir_protocol::operation::Operation;
use bytes::Bytes;

use super::ended::Tombstone;
use super::files::{Journal, JournalError};

/// An Operation as it was delivered.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub attempt: AttemptId,
    /// The message, envelope included.
    pub bytes: Bytes,
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the journal now.
    New,
    /// It was there before, whatever became of it since.
    Known,
}

impl Journal {
    /// Writes all of these, syncs them together, and says what became of each. After an error nothing of
    /// the new ones is left, and all can be taken again. Blocks on the disk.
    ///
    /// # Errors
    /// When a file or directory can't be written or synced.
    pub fn take(&self, arrivals: &[Arrival]) -> Result<Vec<Taken>, JournalError> {
        let mut written = Vec::new();
        let result: Result<Vec<_>, _> =
            arrivals.iter().map(|arrival| self.write(arrival, &mut written)).collect();
        let result = result.and_then(|taken| self.sync(&written).map(|()| taken));
        if result.is_err() {
            for (directory, _) in &written {
                // Not acknowledged, so it comes again; a leftover would be taken for a torn one.
                let _ = std::fs::remove_file(directory.operation());
            }
        }
        result
    }

    fn write(
        &self,
        arrival: &Arrival,
        written: &mut Vec<(AttemptDirectory, File)>,
    ) -> Result<Taken, JournalError> {
        let directory = self.directory(arrival.attempt);
        if known(&directory)? {
            return Ok(Taken::Known);
        }
        let path = directory.operation();
        std::fs::create_dir_all(directory.path()).map_err(JournalError::new("create", directory.path()))?;
        let file = File::create(&path).map_err(JournalError::new("create", &path))?;
        written.push((directory, file));
        let (_, file) = written.last_mut().expect("it was pushed a line above");
        file.write_all(&arrival.bytes).map_err(JournalError::new("write", &path))?;
        Ok(Taken::New)
    }

    fn sync(&self, written: &[(AttemptDirectory, File)]) -> Result<(), JournalError> {
        for (directory, file) in written {
            file.sync_all().map_err(JournalError::new("sync", &directory.operation()))?;
        }
        // The first sync usually commits the names with the contents; the others then return at once.
        let mut directories: Vec<PathBuf> = Vec::new();
        for (directory, _) in written {
            directories.push(directory.path().to_owned());
            directories.extend(directory.path().parent().map(Path::to_owned));
        }
        if !directories.is_empty() {
            directories.push(self.root());
        }
        for directory in directories {
            File::open(&directory)
                .and_then(|file| file.sync_all())
                .map_err(JournalError::new("sync", &directory))?;
        }
        Ok(())
    }
}

/// Whether the journal has this attempt. One that relayd refused may come again: nothing of it ran here,
/// and relayd decides anew.
fn known(directory: &AttemptDirectory) -> Result<bool, JournalError> {
    if directory.tombstone().exists() {
        if !Tombstone::read(directory).is_ok_and(|tombstone| tombstone.is_refusal()) {
            return Ok(true);
        }
        // What it was journaled as the first time must not look as if it had just been taken.
        let first = [directory.operation(), directory.plan(), directory.cancel(), directory.lease()];
        for path in first.into_iter().chain([directory.tombstone()]) {
            if path.exists() {
                std::fs::remove_file(&path).map_err(JournalError::new("remove", &path))?;
            }
        }
        return Ok(false);
    }
    Ok(directory.report().exists() || directory.transcript().exists() || whole(directory))
}

/// Whether there is an `operation.json` that was written to its end.
pub(super) fn whole(directory: &AttemptDirectory) -> bool {
    std::fs::read(directory.operation()).is_ok_and(|bytes| message::decode::<Operation>(&bytes).is_ok())
}
