//! Telling whoever watches an Operation that there is something new about it.
//!
//! The store is the truth; a value here only says "look again". So nothing is lost when several changes come
//! between two looks, and nobody who is slow holds anything up.

use std::collections::HashMap;
use std::sync::Mutex;

use aegir_protocol::id::OperationId;
use tokio::sync::watch;

/// How many entries may be there before those that nobody watches are looked for.
const SWEEP: usize = 64;

/// Who watches what.
pub struct Watchers {
    one: Mutex<Entries>,
    all: watch::Sender<u64>,
}

struct Entries {
    by_id: HashMap<OperationId, watch::Sender<u64>>,
    sweep_at: usize,
}

impl Default for Watchers {
    fn default() -> Self {
        let one = Mutex::new(Entries { by_id: HashMap::new(), sweep_at: SWEEP });
        Self { one, all: watch::Sender::new(0) }
    }
}

impl Watchers {
    /// Changes whenever anything about this Operation was committed.
    #[must_use]
    pub fn watch(&self, id: OperationId) -> watch::Receiver<u64> {
        let mut entries = self.lock();
        if entries.by_id.len() >= entries.sweep_at {
            entries.by_id.retain(|_, sender| sender.receiver_count() > 0);
            entries.sweep_at = SWEEP.max(2 * entries.by_id.len());
        }
        entries.by_id.entry(id).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Changes whenever anything about any Operation was committed.
    #[must_use]
    pub fn watch_all(&self) -> watch::Receiver<u64> {
        self.all.subscribe()
    }

    /// Wakes whoever watches one of these.
    pub fn wake<'a>(&self, changed: impl IntoIterator<Item = &'a OperationId>) {
        let mut any = false;
        let mut entries = self.lock();
        for id in changed {
            any = true;
            if let Some(sender) = entries.by_id.get(id) {
                if sender.receiver_count() == 0 {
                    entries.by_id.remove(id);
                } else {
                    sender.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
        }
        drop(entries);
        if any {
            self.all.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        // Nothing in here leaves the map half changed, so a panic of another holder does no harm.
        self.one.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_watches_is_forgotten() {
        let watchers = Watchers::default();
        let id = OperationId::generate();
        let mut receiver = watchers.watch(id);
        watchers.wake([&id]);
        assert!(receiver.has_changed().unwrap());
        receiver.mark_unchanged();
        drop(receiver);
        watchers.wake([&id]);
        assert!(watchers.lock().by_id.is_empty());
        for _ in 0..10 * SWEEP {
            drop(watchers.watch(OperationId::generate()));
        }
        assert!(watchers.lock().by_id.len() <= 2 * SWEEP);
    }
}
