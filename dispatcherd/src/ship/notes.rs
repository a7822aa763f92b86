//! What relayd says about the transcripts that are on their way.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{Receipt, Replay, Unknown};
use tokio::sync::watch;

/// The last receipt and the last replay of one attempt. A later one stands for all before it, so nothing
/// piles up when they come faster than they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// How many receipts came.
    pub receipts: u64,
    /// Up to where relayd has everything.
    pub offset: u64,
    /// Whether relayd says that it has the `finished` record.
    pub complete: bool,
    /// How many replays came.
    pub replays: u64,
    /// From where relayd misses bytes.
    pub replay: u64,
    /// How often it has said that it has no such attempt.
    pub unknowns: u64,
    /// What it said then, unless it has said something else since.
    pub unknown: Option<Unknown>,
}

/// All attempts whose transcripts are on their way. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ships {
    entries: Arc<Mutex<HashMap<AttemptId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    notes: watch::Sender<Notes>,
    transcript: PathBuf,
    receipted: Arc<AtomicU64>,
}

/// One attempt's place among them, until it is dropped.
#[derive(Debug)]
pub struct Shipment {
    ships: Ships,
    attempt: AttemptId,
    /// What relayd says.
    pub notes: watch::Receiver<Notes>,
    /// Bytes that relayd has.
    pub receipted: Arc<AtomicU64>,
}

impl Ships {
    /// Adds an attempt. From now on it hears what relayd says.
    #[must_use]
    pub fn enter(&self, attempt: AttemptId, transcript: PathBuf) -> Shipment {
        let (sender, notes) = watch::channel(Notes::default());
        let receipted = Arc::new(AtomicU64::new(0));
        let entry = Entry { notes: sender, transcript, receipted: Arc::clone(&receipted) };
        self.entries().insert(attempt, entry);
        Shipment { ships: self.clone(), attempt, notes, receipted }
    }

    /// Passes a receipt on. Says whether anybody is there to hear it.
    pub fn receipt(&self, receipt: &Receipt) -> bool {
        let attempt = AttemptId { operation: receipt.operation, attempt: receipt.attempt };
        self.note(attempt, |notes| {
            notes.receipts += 1;
            notes.unknown = None;
            // One that is told again, from before, must not hide that all has arrived.
            if !notes.complete {
                notes.offset = receipt.offset;
                notes.complete = receipt.complete;
            }
        })
    }

    /// Passes a replay on. Says whether anybody is there to hear it.
    pub fn replay(&self, replay: &Replay) -> bool {
        let attempt = AttemptId { operation: replay.operation, attempt: replay.attempt };
        self.note(attempt, |notes| {
            notes.replays += 1;
            notes.replay = replay.offset;
            notes.unknown = None;
        })
    }

    /// Passes on that relayd has no such attempt. Says whether anybody is there to hear it.
    pub fn unknown(&self, unknown: Unknown) -> bool {
        let attempt = AttemptId { operation: unknown.operation, attempt: unknown.attempt };
        self.note(attempt, |notes| {
            notes.unknowns += 1;
            notes.unknown = Some(unknown);
        })
    }

    /// Bytes of transcripts here that relayd has not receipted.
    #[must_use]
    pub fn spool_bytes(&self) -> u64 {
        let entries = self.entries();
        let open = entries.values().map(|entry| {
            let length = std::fs::metadata(&entry.transcript).map_or(0, |metadata| metadata.len());
            length.saturating_sub(entry.receipted.load(Ordering::Relaxed))
        });
        open.sum()
    }

    fn note(&self, attempt: AttemptId, change: impl FnOnce(&mut Notes)) -> bool {
        self.entries().get(&attempt).map(|entry| entry.notes.send_modify(change)).is_some()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<AttemptId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shipment {
    /// Waits until relayd says anything but that it has no such attempt.
    pub async fn known_again(&mut self) {
        if self.notes.wait_for(|notes| notes.unknown.is_none()).await.is_err() {
            // Somebody else took this attempt's place, which nothing in this program does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Shipment {
    fn drop(&mut self) {
        self.ships.entries().remove(&self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::id::{Attempt, OperationId};

    #[test]
    fn notes_are_heard_while_the_shipment_lasts() {
        let ships = Ships::default();
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        let receipt = |offset, complete| Receipt {
            operation: attempt.operation,
            attempt: attempt.attempt,
            offset,
            complete,
        };
        assert!(!ships.receipt(&receipt(1, false)));
        let shipment = ships.enter(attempt, PathBuf::from("/nowhere"));
        assert!(ships.receipt(&receipt(1, false)));
        assert!(ships.receipt(&receipt(9, true)));
        assert!(ships.receipt(&receipt(1, false)));
        let expect = Notes { receipts: 3, offset: 9, complete: true, ..Notes::default() };
        assert_eq!(*shipment.notes.borrow(), expect);
        drop(shipment);
        assert!(!ships.receipt(&receipt(9, true)));
    }
}
