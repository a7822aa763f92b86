//! The consumer of `aegir.dead`.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::{ConsumeControl, Deliveries, Delivery};
use aegir_api::DeadLettersKept;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::limit::LetterLimit;
use super::sort::sort;
use crate::store::write::{InsertDeadLetters, NewDeadLetter};
use crate::store::{Store, StoreError};

/// The most letters that are held unsettled. The limits are exceeded by twice as many at most: those that were taken
/// together with the last that fitted, and those that were on their way when the broker was told to stop.
pub const PREFETCH: u16 = 32;
/// Pauses between attempts to store.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Takes dead letters into the store, as many as there is room for.
pub struct Collector {
    /// Where they are stored.
    pub store: Store,
    /// Stops the deliveries when there is no room.
    pub control: ConsumeControl,
    /// Told when letters were removed.
    pub removed: Arc<Notify>,
}

impl Collector {
    /// Takes letters until `cancel`. What is not settled by then is delivered again after the next start. The
    /// consumer is to be paused: it starts when it is known that there is room.
    pub async fn run(self, mut deliveries: Deliveries, cancel: CancellationToken) {
        let mut limit = LetterLimit::default();
        while let Some(kept) = self.kept(&cancel).await {
            limit = limit.after(&kept);
            self.regulate(limit, &kept);
            let first = tokio::select! {
                () = cancel.cancelled() => return,
                () = self.removed.notified() => continue,
                first = deliveries.recv() => first,
            };
            let Some(first) = first else { return };
            let mut taken = vec![first];
            while taken.len() < usize::from(PREFETCH)
                && let Some(next) = deliveries.try_recv()
            {
                taken.push(next);
            }
            self.keep(taken, &cancel).await;
        }
    }

    fn regulate(&self, limit: LetterLimit, kept: &DeadLettersKept) {
        if limit.closed && !self.control.is_paused() {
            tracing::warn!(
                count = kept.count,
                bytes = kept.bytes,
                "no more dead letters are kept: look at them with `aegir dead ls`, then replay or drop them"
            );
            self.control.pause();
        } else if !limit.closed && self.control.is_paused() {
            self.control.resume();
        }
    }

    async fn keep(&self, taken: Vec<Delivery>, cancel: &CancellationToken) {
        let letters: Arc<[_]> =
            taken.iter().map(|delivery| sort(delivery.letter(), delivery.redelivered())).collect();
        if self.store(&letters, cancel).await.is_none() {
            return;
        }
        for letter in letters.iter() {
            tracing::debug!(code = letter.code, queue = letter.queue, "dead letter kept");
        }
        if let Err(error) = Delivery::ack_all(taken).await {
            // They come again, and are known then.
            tracing::debug!(%error, "dead letters could not be settled");
        }
    }

    /// Stores letters, however long the disk is full, for they have nowhere else to go. `None` when it was
    /// cancelled before that.
    async fn store(&self, letters: &Arc<[NewDeadLetter]>, cancel: &CancellationToken) -> Option<()> {
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.store.write(InsertDeadLetters(Arc::clone(letters))).await {
            wait(&error, &mut pause, cancel).await?;
        }
        Some(())
    }

    /// How much is kept; read until that works. `None` when it was cancelled before that.
    async fn kept(&self, cancel: &CancellationToken) -> Option<DeadLettersKept> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.store.dead_letters_kept().await {
                Ok(kept) => return Some(kept),
                Err(error) => wait(&error, &mut pause, cancel).await?,
            }
        }
    }
}

/// Waits before the next attempt. `None` when it was cancelled meanwhile.
async fn wait(error: &StoreError, pause: &mut Duration, cancel: &CancellationToken) -> Option<()> {
    tracing::warn!(%error, ?pause, "dead letters can't be stored; it is tried again");
    cancel.run_until_cancelled(tokio::time::sleep(*pause)).await?;
    *pause = (*pause * 2).min(LAST_PAUSE);
    Some(())
}
