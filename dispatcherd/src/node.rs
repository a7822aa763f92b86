//! What every part of a running dispatcherd has in common.

use std::sync::Arc;

use aegir_catalog::Catalog;
use aegir_service::shutdown::Tasks;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::blocked_starts::BlockedStarts;
use crate::frontends::Frontends;
use crate::journal::Journal;
use crate::launch::Launcher;
use crate::planner::PlanningContext;
use crate::ship::{Shipper, Uploads};
use crate::slots::SlotEvent;

/// This node, running.
#[derive(Debug)]
pub struct Node {
    /// All attempts.
    pub journal: Journal,
    /// What plans are made by.
    pub planning: PlanningContext,
    /// What they are checked against; none as long as the roles could not be read and copied.
    pub catalog: watch::Receiver<Option<Arc<Catalog>>>,
    /// Said when a frontend does not have it.
    pub catalog_wanted: Arc<Notify>,
    /// How runners are started.
    pub launcher: Launcher,
    /// What can't be started now.
    pub blocked_starts: BlockedStarts,
    /// The way to the frontends.
    pub frontends: Frontends,
    /// How transcripts get there.
    pub shipper: Shipper,
    /// Transcripts that are on their way.
    pub uploads: Uploads,
    /// What happens, for the one who decides.
    pub events: mpsc::Sender<SlotEvent>,
    /// Everything that runs.
    pub tasks: Tasks,
    /// Ends everything.
    pub cancel: CancellationToken,
}

impl Node {
    /// Says that something happened. At shutdown nobody listens, which does not matter any more.
    pub async fn happened(&self, event: SlotEvent) {
        let _ = self.events.send(event).await;
    }

    /// Runs something that blocks on the disk, in a thread that may.
    ///
    /// # Panics
    /// When it panics.
    pub async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> T {
        let node = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&node)).await {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Starts a task that ends when this node does, wherever it is then: what it was about is found again
    /// in the journal.
    pub fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(name, async move {
            let _ = cancel.run_until_cancelled(task).await;
        });
    }
}
