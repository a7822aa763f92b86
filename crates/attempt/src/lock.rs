//! Is the runner alive?

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::AttemptDirectory;

/// How often a runner that is not our child is looked at. Its transcript says at once when it has finished;
/// this only tells how soon a killed one is noticed.
const LOOK: Duration = Duration::from_millis(250);

/// Whether a runner holds the lock of this directory.
///
/// # Errors
/// When the lock can't be looked at.
pub fn alive(directory: &AttemptDirectory) -> io::Result<bool> {
    locked(&directory.lock())
}

/// Whether somebody alive holds the lock on this file.
///
/// The lock is asked for and given back at once, and shared, so that two that look do not see each other. A
/// runner that starts in that very moment has to ask twice.
///
/// # Errors
/// When the lock can't be looked at.
pub fn locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until no runner holds the lock. May be dropped.
pub async fn gone(directory: &AttemptDirectory) {
    loop {
        match alive(directory) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                // Taking a runner for gone that is not would run things twice; so this is waited out.
                tracing::error!(path = %directory.lock().display(), %error, "a runner's lock can't be read");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_runner_lives_as_long_as_its_lock() {
        let place = tempfile::tempdir().unwrap();
        let directory = AttemptDirectory::at(place.path().to_owned());
        assert!(!alive(&directory).unwrap());
        let file = File::create(directory.lock()).unwrap();
        assert!(!alive(&directory).unwrap());
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(alive(&directory).unwrap());
        let waited = tokio::spawn(async move { gone(&directory).await });
        drop(file);
        tokio::time::timeout(Duration::from_secs(10), waited).await.unwrap().unwrap();
    }
}
