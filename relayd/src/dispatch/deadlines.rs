//! What happens to attempts when nothing else happens before: a lease runs out, the wait before a further
//! attempt is over.
//!
//! Deadlines are kept in memory and count on a clock that nobody sets. At a start they begin anew, in full
//! length: relayd then waits longer than it has to, and never shorter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aegir_protocol::id::AttemptId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ledger::LedgerEvent;
use crate::store::Store;
use crate::store::write::ApplyEvents;

/// After a failure, how long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The deadlines of all attempts that have one.
pub struct Deadlines {
    /// Beyond a lease, what its runner may need to stop and what clocks may differ by.
    margin: Duration,
    entries: Mutex<HashMap<AttemptId, (Instant, LedgerEvent)>>,
    changed: Notify,
}

impl Deadlines {
    /// None yet. A lease counts as over when `margin` has passed since its end.
    #[must_use]
    pub fn new(margin: Duration) -> Arc<Self> {
        Arc::new(Self { margin, entries: Mutex::default(), changed: Notify::new() })
    }

    /// Lets something happen to these attempts, each in so much time from now. An attempt has one deadline: a
    /// later one replaces it.
    pub fn set(&self, deadlines: impl IntoIterator<Item = (AttemptId, Duration, LedgerEvent)>) {
        let now = Instant::now();
        let mut entries = self.entries();
        for (attempt, after, event) in deadlines {
            let after = match event {
                LedgerEvent::LeaseOver { .. } => after + self.margin,
                _ => after,
            };
            entries.insert(attempt, (now + after, event));
        }
        drop(entries);
        self.changed.notify_one();
    }

    /// Lets happen what is due, until `cancel`.
    pub async fn run(self: Arc<Self>, store: Store, cancel: CancellationToken) {
        loop {
            let next = self.entries().values().map(|(at, _)| *at).min();
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.changed.notified() => {}
                () = due => self.happen(&store, &cancel).await,
            }
        }
    }

    async fn happen(&self, store: &Store, cancel: &CancellationToken) {
        let now = Instant::now();
        let due: Vec<_> = {
            let entries = self.entries();
            let due = entries.iter().filter(|(_, (at, _))| *at <= now);
            due.map(|(attempt, (_, event))| (*attempt, event.clone())).collect()
        };
        let Err(error) = store.write(ApplyEvents(due.clone())).await else {
            // What the commit has led to may be a new deadline of the same attempt, which stays.
            self.entries().retain(|attempt, (_, event)| !due.contains(&(*attempt, event.clone())));
            return;
        };
        tracing::warn!(error = %error, "what is due can't be written down; it is tried again");
        let _ = cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<AttemptId, (Instant, LedgerEvent)>> {
        // An insert is all or nothing, so a panic of another holder does no harm.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use aegir_protocol::id::{Attempt, OperationId};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_has_its_margin_and_a_later_deadline_replaces_an_earlier_one() {
        let deadlines = Deadlines::new(Duration::from_secs(60));
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        let lease = |grants| LedgerEvent::LeaseOver { attempt: Attempt::FIRST, grants };
        let at = || deadlines.entries().get(&attempt).cloned().expect("a deadline");
        deadlines.set([(attempt, Duration::from_secs(10), lease(1))]);
        assert_eq!(at(), (Instant::now() + Duration::from_secs(70), lease(1)));
        tokio::time::advance(Duration::from_secs(5)).await;
        deadlines.set([(attempt, Duration::from_secs(10), lease(2))]);
        assert_eq!(at(), (Instant::now() + Duration::from_secs(70), lease(2)));
    }
}
