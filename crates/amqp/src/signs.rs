//! Signs of life of one session: what the broker could not route.

use std::sync::Arc;

use tokio::sync::Notify;

/// What is seen of the publishing side. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    unroutable: Arc<Notify>,
}

impl Told {
    pub(crate) fn new() -> Self {
        Self { unroutable: Arc::default() }
    }

    /// Some message found no queue.
    pub(crate) fn found_no_queue(&self) {
        self.unroutable.notify_one();
    }

    /// Waits until some message found no queue.
    pub(crate) async fn unroutable(&self) {
        self.unroutable.notified().await;
    }
}
