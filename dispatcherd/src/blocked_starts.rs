//! Granted attempts whose start waits for room on this machine; heartbeats show them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Blocked;
use aegir_protocol::state::Reason;
use jiff::Timestamp;

/// Granted attempts that wait for the machine, such as for room on its disk.
#[derive(Debug, Default)]
pub struct BlockedStarts(Mutex<BTreeMap<AttemptId, Blocked>>);

impl BlockedStarts {
    /// Another try has failed.
    pub(crate) fn insert(&self, attempt: AttemptId, reason: Reason) {
        let AttemptId { operation, attempt: number } = attempt;
        let since = Timestamp::now();
        let mut blocked_starts = self.lock();
        let blocked = blocked_starts.entry(attempt).or_insert(Blocked {
            operation,
            attempt: number,
            since,
            reason: reason.clone(),
        });
        blocked.reason = reason;
    }

    /// It was started, or never will be.
    pub(crate) fn remove(&self, attempt: AttemptId) {
        self.lock().remove(&attempt);
    }

    /// Those that are among these; any other was called off meanwhile, and is forgotten.
    pub fn among(&self, attempts: &[AttemptId]) -> Vec<Blocked> {
        let mut blocked_starts = self.lock();
        blocked_starts.retain(|attempt, _| attempts.contains(attempt));
        blocked_starts.values().cloned().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AttemptId, Blocked>> {
        // Every change is all or nothing, so a panic of another holder does no harm.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
