//! Telling whoever watches an Operation that there is something new about it.
//!
//! The store is the truth; a value here only says "look again". So nothing is lost when several changes come
//! between two looks, and nobody who is slow holds anything up.

use std::collections::HashMap;
use std::sync::Mutex;

use aegir_protocol::id::OperationId;
use tokio::sync::{broadcast, watch};

/// How many entries may be there before those that nobody watches are looked for.
const PRUNE_AT: usize = 64;
/// How many changes one who watches all may be behind. Who is further behind looks at everything again.
const BEHIND: usize = 4096;

/// Who watches what.
pub struct ChangeNotifier {
    one: Mutex<Entries>,
    all: broadcast::Sender<OperationId>,
}

struct Entries {
    by_id: HashMap<OperationId, watch::Sender<u64>>,
    prune_at: usize,
}

impl Default for ChangeNotifier {
    fn default() -> Self {
        let one = Mutex::new(Entries { by_id: HashMap::new(), prune_at: PRUNE_AT });
        Self { one, all: broadcast::Sender::new(BEHIND) }
    }
}

impl ChangeNotifier {
    /// Changes whenever anything about this Operation was committed.
    #[must_use]
    pub fn watch(&self, id: OperationId) -> watch::Receiver<u64> {
        let mut entries = self.lock();
        if entries.by_id.len() >= entries.prune_at {
            entries.by_id.retain(|_, sender| sender.receiver_count() > 0);
            entries.prune_at = PRUNE_AT.max(2 * entries.by_id.len());
        }
        entries.by_id.entry(id).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// Each Operation of which anything was committed.
    #[must_use]
    pub fn watch_all(&self) -> broadcast::Receiver<OperationId> {
        self.all.subscribe()
    }

    /// Wakes whoever watches one of these.
    pub fn notify<'a>(&self, changed: impl IntoIterator<Item = &'a OperationId>) {
        let mut entries = self.lock();
        for id in changed {
            // Nobody may be watching.
            let _ = self.all.send(*id);
            if let Some(sender) = entries.by_id.get(id) {
                if sender.receiver_count() == 0 {
                    entries.by_id.remove(id);
                } else {
                    sender.send_modify(|count| *count = count.wrapping_add(1));
                }
            }
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
        let changes = ChangeNotifier::default();
        let id = OperationId::generate();
        let mut receiver = changes.watch(id);
        changes.notify([&id]);
        assert!(receiver.has_changed().unwrap());
        receiver.mark_unchanged();
        drop(receiver);
        changes.notify([&id]);
        assert!(changes.lock().by_id.is_empty());
        for _ in 0..10 * PRUNE_AT {
            drop(changes.watch(OperationId::generate()));
        }
        assert!(changes.lock().by_id.len() <= 2 * PRUNE_AT);
    }
}
