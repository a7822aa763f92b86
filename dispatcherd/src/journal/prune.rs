//! Removing what has been kept for long enough.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aegir_attempt::AttemptDirectory;
use aegir_attempt::plan::TaskPlan;
use aegir_protocol::state::Outcome;

use super::ended::Tombstone;
use super::files::{Journal, JournalError};
use super::scan::numbered;

/// How long an ended attempt is known, so that a message that comes again does not run again.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long the spool of a lost attempt stays at least.
const EVIDENCE: Duration = Duration::from_secs(24 * 3600);

/// What a sweep removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Spools of ended attempts.
    pub spools: usize,
    /// Tombstones.
    pub tombstones: usize,
}

impl Journal {
    /// How often a sweep is worth it.
    #[must_use]
    pub fn prune_interval(&self) -> Duration {
        let day = Duration::from_secs(24 * 3600);
        if self.retention.is_zero() { day } else { self.retention.clamp(Duration::from_secs(60), day) }
    }

    /// Removes spools and tombstones that have been kept for long enough. Blocks on the disk.
    ///
    /// # Errors
    /// When the journal can't be read or something not be removed.
    pub fn prune(&self, now: SystemTime) -> Result<Pruned, JournalError> {
        let mut pruned = Pruned::default();
        for (_, operation) in numbered(&self.root())? {
            for (_, path) in numbered(&operation)? {
                let directory = AttemptDirectory::at(path);
                if let Some(age) = age(&directory.tombstone(), now) {
                    self.prune_one(&directory, age, &mut pruned)?;
                }
            }
            // Only goes when it is empty.
            let _ = std::fs::remove_dir(&operation);
        }
        Ok(pruned)
    }

    /// The roles and plug-ins that the plans of attempts name which are not over, by digest. Blocks on the disk.
    ///
    /// # Errors
    /// When the journal can't be read.
    pub fn planned_digests(&self) -> Result<Vec<String>, JournalError> {
        let mut digests = Vec::new();
        for (_, operation) in numbered(&self.root())? {
            for (_, path) in numbered(&operation)? {
                let Ok(bytes) = std::fs::read(AttemptDirectory::at(path).plan()) else { continue };
                let Ok(plan) = serde_json::from_slice::<TaskPlan>(&bytes) else { continue };
                digests.extend(plan.tasks.into_iter().map(|task| task.digest).chain(plan.plugins));
            }
        }
        Ok(digests)
    }

    fn prune_one(
        &self,
        directory: &AttemptDirectory,
        age: Duration,
        pruned: &mut Pruned,
    ) -> Result<(), JournalError> {
        if age >= REMEMBERED {
            let path = directory.path();
            std::fs::remove_dir_all(path).map_err(JournalError::new("remove", path))?;
            pruned.tombstones += 1;
            return Ok(());
        }
        // `operation.json` goes first and `runner.log` may be missing: any of them says that a spool is left.
        let left =
            [directory.operation(), directory.transcript(), directory.runner_log(), directory.report()];
        if !left.iter().any(|path| path.exists()) {
            return Ok(());
        }
        let lost = Tombstone::read(directory).is_ok_and(|tombstone| tombstone.outcome == Some(Outcome::Lost));
        let kept = if lost { self.retention.max(EVIDENCE) } else { self.retention };
        if age >= kept {
            self.remove_spool(directory)?;
            pruned.spools += 1;
        }
        Ok(())
    }
}

fn age(tombstone: &Path, now: SystemTime) -> Option<Duration> {
    let modified = std::fs::metadata(tombstone).and_then(|metadata| metadata.modified()).ok()?;
    Some(now.duration_since(modified).unwrap_or_default())
}
