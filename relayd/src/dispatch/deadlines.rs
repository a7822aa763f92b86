//! Timers of attempts: the end of a lease, and the end of the wait before a retry.
//!
//! Deadlines are kept in memory and count on a clock that nobody sets. At a start they begin anew, in full
//! length: relayd then waits longer than it has to, and never shorter.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use aegir_protocol::id::AttemptId;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use crate::ledger::LedgerEvent;
use crate::store::Store;
use crate::store::write::ApplyEvents;

/// After a failure, how long until it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// The queue counts no further than two years. A margin that long is longer than any relayd runs.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The deadlines of all attempts that have one.
pub struct Deadlines {
    /// Beyond a lease, what its runner may need to stop and what clocks may differ by.
    margin: Duration,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    queue: DelayQueue<(AttemptId, LedgerEvent)>,
    keys: HashMap<AttemptId, Key>,
}

impl Deadlines {
    /// None yet. A lease counts as over when `margin` has passed since its end.
    #[must_use]
    pub fn new(margin: Duration) -> Arc<Self> {
        Arc::new(Self { margin, pending: Mutex::default() })
    }

    /// Lets something happen to these attempts, each in so much time from now. An attempt has one deadline: a
    /// later one replaces it.
    pub fn set(&self, deadlines: impl IntoIterator<Item = (AttemptId, Duration, LedgerEvent)>) {
        let Pending { queue, keys } = &mut *self.pending();
        for (attempt, after, event) in deadlines {
            let after = match event {
                LedgerEvent::LeaseOver { .. } => after.saturating_add(self.margin),
                _ => after,
            };
            let key = queue.insert((attempt, event), after.min(LONGEST));
            if let Some(earlier) = keys.insert(attempt, key) {
                queue.remove(&earlier);
            }
        }
    }

    /// Lets happen what is due, until `cancel`.
    pub async fn run(self: Arc<Self>, store: Store, cancel: CancellationToken) {
        while let Some(due) = cancel.run_until_cancelled(poll_fn(|context| self.poll_due(context))).await {
            // What has been overtaken by another deadline meanwhile changes nothing.
            while let Err(error) = store.write(ApplyEvents(due.clone())).await {
                tracing::warn!(error = %error, "what is due can't be written down; it is tried again");
                if cancel.run_until_cancelled(tokio::time::sleep(PAUSE)).await.is_none() {
                    return;
                }
            }
        }
    }

    /// All that is due. A deadline that is set later wakes the caller if it is the next one.
    fn poll_due(&self, context: &mut Context<'_>) -> Poll<Vec<(AttemptId, LedgerEvent)>> {
        let Pending { queue, keys } = &mut *self.pending();
        let mut due = Vec::new();
        while let Poll::Ready(Some(expired)) = queue.poll_expired(context) {
            let (attempt, event) = expired.into_inner();
            keys.remove(&attempt);
            due.push((attempt, event));
        }
        if due.is_empty() { Poll::Pending } else { Poll::Ready(due) }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use aegir_protocol::id::{Attempt, OperationId};
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lease_has_its_margin_and_a_later_deadline_replaces_an_earlier_one() {
        let deadlines = Deadlines::new(Duration::from_secs(60));
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        let lease = |grants| LedgerEvent::LeaseOver { attempt: Attempt::FIRST, grants };
        let due = || poll_fn(|context| deadlines.poll_due(context));
        deadlines.set([(attempt, Duration::from_secs(10), lease(1))]);
        assert_eq!(timeout(Duration::from_secs(69), due()).await.ok(), None);
        deadlines.set([(attempt, Duration::from_secs(10), lease(2))]);
        let set = Instant::now();
        assert_eq!(due().await, [(attempt, lease(2))]);
        assert_eq!(set.elapsed().as_secs(), 70);
        assert_eq!(timeout(Duration::from_secs(3600), due()).await.ok(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_before_the_next_one_is_not_slept_over() {
        let deadlines = Deadlines::new(Duration::ZERO);
        let attempt = |number| AttemptId {
            operation: OperationId::generate(),
            attempt: Attempt::new(number).expect("not 0"),
        };
        let over = LedgerEvent::BackoffOver { attempt: Attempt::FIRST };
        let [late, soon] = [attempt(1), attempt(2)];
        let started = Instant::now();
        let waiting = tokio::spawn({
            let deadlines = Arc::clone(&deadlines);
            async move { poll_fn(|context| deadlines.poll_due(context)).await }
        });
        for (attempt, after) in [(late, 1000), (soon, 10)] {
            tokio::task::yield_now().await;
            deadlines.set([(attempt, Duration::from_secs(after), over.clone())]);
        }
        assert_eq!(waiting.await.expect("no panic"), [(soon, over)]);
        assert_eq!(started.elapsed().as_secs(), 10);
    }
}
