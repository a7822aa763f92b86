//! The consumer of `aegir.transcripts.<frontend>`: takes all that waits, stores it in one commit, settles it.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::{Deliveries, Delivery};
use aegir_protocol::code::Code;
use aegir_protocol::message::{ToFrontend, decode_to_frontend};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::nodes::PendingEchoes;
use crate::store::write::{Ingest, Settlement};
use crate::store::{Store, StoreError};

/// The most unsettled deliveries. Their bytes are bounded by the nodes' windows.
pub const PREFETCH: u16 = 256;
/// The most bytes that are taken into one commit.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Pauses between attempts to store.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Takes what nodes send.
pub struct Transcripts {
    /// Where it is stored.
    pub store: Store,
    /// Who waits for an answer.
    pub echoes: Arc<PendingEchoes>,
}

impl Transcripts {
    /// Takes deliveries until `cancel`. What is not settled by then is delivered again after the next start.
    pub async fn run(self, mut deliveries: Deliveries, cancel: CancellationToken) {
        loop {
            let first = tokio::select! {
                () = cancel.cancelled() => return,
                delivery = deliveries.recv() => delivery,
            };
            let Some(first) = first else { return };
            let mut bytes = first.body().len();
            let mut taken = vec![first];
            while bytes < MAX_BYTES
                && taken.len() < usize::from(PREFETCH)
                && let Some(next) = deliveries.try_recv()
            {
                bytes += next.body().len();
                taken.push(next);
            }
            self.handle(taken, &cancel).await;
        }
    }

    async fn handle(&self, taken: Vec<Delivery>, cancel: &CancellationToken) {
        let mut kept = Vec::with_capacity(taken.len());
        let mut messages = Vec::with_capacity(taken.len());
        let mut settled = Vec::new();
        for delivery in taken {
            let message = match decode_to_frontend(delivery.content_type(), &delivery.body()) {
                Ok(ToFrontend::Chunk(header, payload)) => Ingest::Chunk(header, payload),
                Ok(ToFrontend::Claim(claim)) => Ingest::Claim(claim),
                Ok(ToFrontend::Report(report)) => Ingest::Report(report),
                Ok(ToFrontend::Catalog(catalog, document)) => {
                    Ingest::Catalog(Box::new((*catalog).into()), document)
                }
                Ok(ToFrontend::Echoed(echoed)) => {
                    self.echoes.answered(echoed);
                    settled.push((delivery, Settlement::Acknowledge));
                    continue;
                }
                Err(error) => {
                    settled.push((delivery, Settlement::DeadLetter(error.code(), error.to_string())));
                    continue;
                }
            };
            kept.push(delivery);
            messages.push(message);
        }
        if !messages.is_empty() {
            let Some(verdicts) = self.keep_at_it(messages, cancel).await else { return };
            settled.extend(kept.into_iter().zip(verdicts));
        }
        join_all(settled.into_iter().map(|(delivery, verdict)| settle(delivery, verdict))).await;
    }

    /// Stores messages in their order, however long the disk is full. Nothing is acknowledged meanwhile, and the
    /// broker delivers no more than the prefetch. `None` when it was cancelled before that.
    async fn keep_at_it(&self, messages: Vec<Ingest>, cancel: &CancellationToken) -> Option<Vec<Settlement>> {
        let messages: Arc<[Ingest]> = messages.into();
        if let Ok(settled) = self.store_when_possible(&messages, cancel).await? {
            return Some(settled);
        }
        // One of them has met a fault of this program: the others need not suffer for it.
        let mut settled = Vec::with_capacity(messages.len());
        for message in messages.iter() {
            let alone: Arc<[Ingest]> = Arc::new([message.clone()]);
            match self.store_when_possible(&alone, cancel).await? {
                Ok(verdict) => settled.extend(verdict),
                Err(error) => settled.push(Settlement::DeadLetter(Code::Internal, error.to_string())),
            }
        }
        Some(settled)
    }

    async fn store_when_possible(
        &self,
        messages: &Arc<[Ingest]>,
        cancel: &CancellationToken,
    ) -> Option<Result<Vec<Settlement>, StoreError>> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.store.write(Arc::clone(messages)).await {
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = %error, ?pause, "what nodes sent can't be stored; it is tried again");
                    tokio::select! {
                        () = cancel.cancelled() => return None,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                result => return Some(result),
            }
        }
    }
}

async fn settle(delivery: Delivery, verdict: Settlement) {
    let result = match verdict {
        Settlement::Acknowledge => delivery.ack().await,
        Settlement::DeadLetter(code, reason) => delivery.dead_letter(code.as_str(), &reason).await,
    };
    if let Err(error) = result {
        // It comes again, and is known then.
        tracing::debug!(error = %error, "a delivery could not be settled");
    }
}
