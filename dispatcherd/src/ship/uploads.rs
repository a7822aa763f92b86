//! Hands receipts and replays to the upload that they are about.

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
pub struct UploadFeedback {
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
pub struct Uploads {
    entries: Arc<Mutex<HashMap<AttemptId, Entry>>>,
}

#[derive(Debug)]
struct Entry {
    feedback: watch::Sender<UploadFeedback>,
    transcript: PathBuf,
    receipted: Arc<AtomicU64>,
}

/// One attempt's place among them, until it is dropped.
#[derive(Debug)]
pub struct Upload {
    uploads: Uploads,
    attempt: AttemptId,
    /// What relayd says.
    pub feedback: watch::Receiver<UploadFeedback>,
    /// Bytes that relayd has.
    pub receipted: Arc<AtomicU64>,
}

impl Uploads {
    /// Adds an attempt. From now on it hears what relayd says.
    #[must_use]
    pub fn register(&self, attempt: AttemptId, transcript: PathBuf) -> Upload {
        let (sender, feedback) = watch::channel(UploadFeedback::default());
        let receipted = Arc::new(AtomicU64::new(0));
        let entry = Entry { feedback: sender, transcript, receipted: Arc::clone(&receipted) };
        self.entries().insert(attempt, entry);
        Upload { uploads: self.clone(), attempt, feedback, receipted }
    }

    /// Passes a receipt on. Says whether anybody is there to hear it.
    pub fn receipt(&self, receipt: &Receipt) -> bool {
        let attempt = AttemptId { operation: receipt.operation, attempt: receipt.attempt };
        self.update(attempt, |feedback| {
            feedback.receipts += 1;
            feedback.unknown = None;
            // One that is told again, from before, must not hide that all has arrived.
            if !feedback.complete {
                feedback.offset = receipt.offset;
                feedback.complete = receipt.complete;
            }
        })
    }

    /// Passes a replay on. Says whether anybody is there to hear it.
    pub fn replay(&self, replay: &Replay) -> bool {
        let attempt = AttemptId { operation: replay.operation, attempt: replay.attempt };
        self.update(attempt, |feedback| {
            feedback.replays += 1;
            feedback.replay = replay.offset;
            feedback.unknown = None;
        })
    }

    /// Passes on that relayd has no such attempt. Says whether anybody is there to hear it.
    pub fn unknown(&self, unknown: Unknown) -> bool {
        let attempt = AttemptId { operation: unknown.operation, attempt: unknown.attempt };
        self.update(attempt, |feedback| {
            feedback.unknowns += 1;
            feedback.unknown = Some(unknown);
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

    fn update(&self, attempt: AttemptId, change: impl FnOnce(&mut UploadFeedback)) -> bool {
        self.entries().get(&attempt).map(|entry| entry.feedback.send_modify(change)).is_some()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<AttemptId, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upload {
    /// Waits until relayd says anything but that it has no such attempt.
    pub async fn wait_until_known(&mut self) {
        if self.feedback.wait_for(|feedback| feedback.unknown.is_none()).await.is_err() {
            // Somebody else took this attempt's place, which nothing in this program does.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uploads.entries().remove(&self.attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::id::{Attempt, OperationId};

    #[test]
    fn feedback_is_received_while_the_upload_lasts() {
        let uploads = Uploads::default();
        let attempt = AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        let receipt = |offset, complete| Receipt {
            operation: attempt.operation,
            attempt: attempt.attempt,
            offset,
            complete,
        };
        assert!(!uploads.receipt(&receipt(1, false)));
        let upload = uploads.register(attempt, PathBuf::from("/nowhere"));
        assert!(uploads.receipt(&receipt(1, false)));
        assert!(uploads.receipt(&receipt(9, true)));
        assert!(uploads.receipt(&receipt(1, false)));
        let expect = UploadFeedback { receipts: 3, offset: 9, complete: true, ..UploadFeedback::default() };
        assert_eq!(*upload.feedback.borrow(), expect);
        drop(upload);
        assert!(!uploads.receipt(&receipt(9, true)));
    }
}
