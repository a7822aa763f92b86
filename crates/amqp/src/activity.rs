//! Signs of life of one session: what the broker confirmed, what it delivered, what it could not route.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, watch};

/// What is seen of the publishing side. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct PublisherActivity {
    confirms: watch::Sender<u64>,
    unroutable: Arc<Notify>,
}

impl PublisherActivity {
    pub(crate) fn new() -> Self {
        Self { confirms: watch::Sender::new(0), unroutable: Arc::default() }
    }

    /// The broker answered for some messages, with whatever answer.
    pub(crate) fn answered(&self, count: usize) {
        self.confirms.send_modify(|confirms| *confirms += count as u64);
    }

    /// Some message found no queue.
    pub(crate) fn found_no_queue(&self) {
        self.unroutable.notify_one();
    }

    pub(crate) fn confirms(&self) -> watch::Receiver<u64> {
        self.confirms.subscribe()
    }

    /// Waits until some message found no queue.
    pub(crate) async fn unroutable(&self) {
        self.unroutable.notified().await;
    }
}

/// What is seen of one consumer.
#[derive(Debug)]
pub(crate) struct ConsumerActivity {
    /// The queue, by its name on the broker.
    pub(crate) queue: String,
    prefetch: usize,
    deliveries: watch::Sender<u64>,
    /// Held by every delivery that is not settled.
    unsettled: Arc<()>,
    reader_is_busy: AtomicBool,
}

impl ConsumerActivity {
    pub(crate) fn new(queue: String, prefetch: u16) -> Self {
        Self {
            queue,
            prefetch: prefetch.into(),
            deliveries: watch::Sender::new(0),
            unsettled: Arc::default(),
            reader_is_busy: AtomicBool::new(false),
        }
    }

    /// Something was delivered; what is given back is kept until it is settled.
    pub(crate) fn delivered(&self) -> Arc<()> {
        self.deliveries.send_modify(|deliveries| *deliveries += 1);
        Arc::clone(&self.unsettled)
    }

    /// Whether the pump waits for whoever reads, and so takes nothing from the broker.
    pub(crate) fn reader_is_busy(&self, busy: bool) {
        self.reader_is_busy.store(busy, Ordering::Relaxed);
    }

    pub(crate) fn deliveries(&self) -> watch::Receiver<u64> {
        self.deliveries.subscribe()
    }

    /// Whether a message that is in the queue should be delivered soon. Not while as many as the prefetch are
    /// unsettled: then it is our own turn.
    pub(crate) fn expects(&self) -> bool {
        let unsettled = Arc::strong_count(&self.unsettled) - 1;
        unsettled < self.prefetch && !self.reader_is_busy.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_expected_while_it_is_our_own_turn() {
        let heard = ConsumerActivity::new("q".to_owned(), 2);
        assert!(heard.expects());
        let first = heard.delivered();
        let second = heard.delivered();
        assert!(!heard.expects());
        drop(first);
        assert!(heard.expects());
        heard.reader_is_busy(true);
        assert!(!heard.expects());
        drop(second);
        assert_eq!(*heard.deliveries().borrow(), 2);
    }
}
