//! Carrying one transcript across.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aegir_amqp::{PublishError, Status};
use aegir_protocol::id::AttemptId;
use aegir_protocol::limits::{ATTEMPT_WINDOW, MAX_RECORD};
use aegir_protocol::name::FrontendName;
use aegir_protocol::record::Finished;
use aegir_transcript::{FollowError, Follower, Piece, WatchError, Watcher};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Shipment, Turns, Window, finished};
use crate::frontends::Frontends;

/// A good size for a chunk under load, and room for any record.
const CHUNK: usize = MAX_RECORD;
/// So many chunks may wait for the broker's confirm. More than that, and what is written meanwhile gathers
/// to larger chunks instead.
const UNCONFIRMED: usize = 16;
/// Without a receipt for this long, while bytes are out, relayd is asked what it has.
const SILENCE: Duration = Duration::from_secs(10);
/// The longest pause between two such questions.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// After a lost session the supervisor needs a moment to notice.
const BREATH: Duration = Duration::from_millis(100);
/// After any other setback, such as a full queue.
const PAUSE: Duration = Duration::from_secs(1);

/// What all shipments share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shipper {
    /// Where to.
    pub frontends: Frontends,
    /// The window of each frontend.
    pub turns: Turns,
    /// Says when transcripts grow.
    pub watcher: Watcher,
}

/// How a shipment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// relayd has all of it.
    Complete(Finished),
    /// The runner is gone without having finished it, and relayd has every whole record.
    Unfinished,
    /// The runner is gone and has not written any.
    Nothing,
}

/// Why a transcript can't be shipped on.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// It can't be read.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Its directory can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Its end can't be read.
    #[error("can't read the end of the transcript {}: {error}", path.display())]
    End {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: std::io::Error,
    },
}

type Confirm = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>;

/// One transcript on its way.
struct Voyage<'a> {
    shipper: &'a Shipper,
    attempt: AttemptId,
    frontend: &'a FrontendName,
    path: &'a Path,
    shipment: &'a mut Shipment,
    follower: Follower,
    window: Window,
    /// The right to have bytes out, by the offset up to which it was used.
    permits: VecDeque<(u64, OwnedSemaphorePermit)>,
    confirms: FuturesUnordered<Confirm>,
    /// Everything that there is was handed out, and no more comes.
    at_end: bool,
    /// When relayd is asked what it has, and how long it was silent before that.
    ask: Option<(Instant, Duration)>,
    asked: bool,
    receipts_seen: u64,
    replays_seen: u64,
    troubled: bool,
    /// Of the session with the broker.
    status: watch::Receiver<Status>,
}

impl Shipper {
    /// Ships a transcript until relayd has it, from its start: what relayd has already it says in its first
    /// receipt. `gone` says that no runner writes any more. May be dropped, and begun again.
    ///
    /// # Errors
    /// When the transcript can't be read.
    pub async fn ship(
        &self,
        attempt: AttemptId,
        frontend: &FrontendName,
        path: &Path,
        shipment: &mut Shipment,
        gone: &CancellationToken,
    ) -> Result<Shipped, ShipError> {
        tokio::select! {
            biased;
            found = self.watcher.wait_for_file(path) => found?,
            () = gone.cancelled() => {
                if !path.exists() {
                    return Ok(Shipped::Nothing);
                }
            }
        }
        let follower = Follower::open(path, 0, &self.watcher)?;
        let mut voyage = Voyage {
            shipper: self,
            attempt,
            frontend,
            path,
            shipment,
            follower,
            window: Window::new(ATTEMPT_WINDOW),
            permits: VecDeque::new(),
            confirms: FuturesUnordered::new(),
            at_end: false,
            ask: None,
            asked: false,
            receipts_seen: 0,
            replays_seen: 0,
            troubled: false,
            status: self.frontends.status(),
        };
        voyage.run(gone).await
    }
}

enum Read {
    Piece(Piece),
    End,
}

/// The next piece; once nobody writes any more, what is not there will not come.
async fn read(follower: &mut Follower, gone: bool) -> Result<Read, FollowError> {
    let piece = if gone { follower.next_there_is(CHUNK)? } else { follower.next(CHUNK).await? };
    Ok(piece.map_or(Read::End, Read::Piece))
}

impl Voyage<'_> {
    async fn run(&mut self, gone: &CancellationToken) -> Result<Shipped, ShipError> {
        let mut runner_gone = gone.is_cancelled();
        loop {
            if let Some(finished) = self.take_notes()? {
                return Ok(Shipped::Complete(finished));
            }
            if self.at_end && runner_gone && self.window.receipted() == self.follower.offset() {
                // A finished one ends with a receipt that says `complete`.
                if self.finished()?.is_none() {
                    return Ok(Shipped::Unfinished);
                }
            }
            let may_read =
                !self.at_end && self.window.room() >= CHUNK as u64 && self.confirms.len() < UNCONFIRMED;
            tokio::select! {
                biased;
                changed = self.shipment.notes.changed() => {
                    if changed.is_err() {
                        // Somebody else took this attempt's place, which nothing in this program does.
                        std::future::pending::<()>().await;
                    }
                }
                Some(outcome) = self.confirms.next(), if !self.confirms.is_empty() => {
                    match outcome {
                        Ok(()) => self.troubled = false,
                        Err(error) => self.set_back(&error).await?,
                    }
                }
                piece = read(&mut self.follower, runner_gone), if may_read => match piece? {
                    Read::Piece(piece) => self.send(piece).await?,
                    Read::End => self.at_end = true,
                },
                () = until(self.ask), if self.ask.is_some() => self.ask_what_it_has().await?,
                Ok(()) = self.status.changed() => {
                    // What was out when the session ended may have been answered to nobody.
                    if self.status.borrow_and_update().is_up() && self.ask.is_some() {
                        self.ask = Some((Instant::now() + PAUSE, SILENCE));
                    }
                }
                () = gone.cancelled(), if !runner_gone => runner_gone = true,
            }
        }
    }

    /// Follows what relayd says. Gives the end when relayd has all.
    fn take_notes(&mut self) -> Result<Option<Finished>, ShipError> {
        let notes = self.shipment.notes.borrow_and_update().clone();
        if notes.receipts != self.receipts_seen {
            self.receipts_seen = notes.receipts;
            if let Some(finished) = self.receipt(notes.offset, notes.complete)? {
                return Ok(Some(finished));
            }
        }
        if notes.replays != self.replays_seen {
            self.replays_seen = notes.replays;
            if self.window.replay(notes.replay) {
                self.permits.clear();
                if let Err(error) = self.align() {
                    tracing::error!(
                        operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(),
                        offset = notes.replay, %error, "relayd asks for a replay where no record begins"
                    );
                    self.window.rewind();
                    self.window.replay(0);
                    self.align()?;
                }
            }
        }
        Ok(None)
    }

    fn receipt(&mut self, offset: u64, complete: bool) -> Result<Option<Finished>, ShipError> {
        if offset > self.window.next()
            && let Err(error) = self.follower.rewind(offset)
        {
            tracing::error!(
                operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(), offset, %error,
                "relayd receipts what this transcript does not have; the receipt is ignored"
            );
            return Ok(None);
        }
        let news = self.window.receipt(offset);
        while self.permits.front().is_some_and(|(end, _)| *end <= self.window.receipted()) {
            self.permits.pop_front();
        }
        self.shipment.receipted.store(self.window.receipted(), Ordering::Relaxed);
        if self.asked && self.window.out() > 0 {
            // The answer to the question: the rest never arrived.
            self.window.rewind();
            self.permits.clear();
        }
        if news || self.asked {
            self.asked = false;
            self.ask = None;
        }
        self.align()?;
        self.expect_receipt();
        if complete && let Some((finished, length)) = self.finished()? {
            if length == offset {
                return Ok(Some(finished));
            }
            tracing::error!(
                operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(), offset, length,
                "relayd says that it has the whole transcript, which has another length; it is kept"
            );
        }
        Ok(None)
    }

    /// Puts the follower where the window goes on.
    fn align(&mut self) -> Result<(), FollowError> {
        if self.follower.offset() != self.window.next() {
            self.follower.rewind(self.window.next())?;
        }
        // Looked at again in any case: it costs one read.
        self.at_end = false;
        Ok(())
    }

    fn finished(&self) -> Result<Option<(Finished, u64)>, ShipError> {
        finished(self.path).map_err(|error| ShipError::End { path: self.path.to_owned(), error })
    }

    async fn send(&mut self, piece: Piece) -> Result<(), ShipError> {
        self.follower.sync_data().await?;
        let shipper = self.shipper;
        let permit = {
            let take = shipper.turns.take(self.frontend, piece.bytes.len());
            tokio::pin!(take);
            loop {
                // Receipts must be taken while waiting: with all attempts waiting here, they are what
                // gives room again.
                tokio::select! {
                    biased;
                    permit = &mut take => break permit,
                    Ok(()) = self.shipment.notes.changed() => {
                        let notes = self.shipment.notes.borrow().clone();
                        while self.permits.front().is_some_and(|(end, _)| *end <= notes.offset) {
                            self.permits.pop_front();
                        }
                        // For `take_notes` it is still to be seen.
                        if notes.replays != self.replays_seen || notes.complete {
                            self.follower.rewind(self.window.next())?;
                            return Ok(());
                        }
                    }
                }
            }
        };
        match shipper.frontends.chunk(self.frontend, self.attempt, piece.offset, &piece.bytes).await {
            Ok(pending) => {
                self.confirms.push(Box::pin(pending.confirmed()));
                self.window.sent(piece.end());
                self.permits.push_back((piece.end(), permit));
                self.expect_receipt();
                Ok(())
            }
            Err(error) => self.set_back(&error).await,
        }
    }

    /// From here on relayd's silence means something, as long as bytes are out or the end is not receipted.
    fn expect_receipt(&mut self) {
        let waiting = self.window.out() > 0;
        match self.ask {
            None if waiting => self.ask = Some((Instant::now() + SILENCE, SILENCE)),
            Some(_) if !waiting => self.ask = None,
            None | Some(_) => {}
        }
    }

    /// relayd has been silent while bytes are out. One record is sent again, the first that it may miss: it
    /// answers with what it has, and while it is away one record is all that piles up in its queue.
    async fn ask_what_it_has(&mut self) -> Result<(), ShipError> {
        let silent = self.ask.map_or(SILENCE, |(_, silent)| silent);
        let longer = (silent * 2).min(LONGEST_SILENCE);
        self.ask = Some((Instant::now() + longer, longer));
        self.asked = true;
        tracing::debug!(
            operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(),
            offset = self.window.receipted(), silent_seconds = silent.as_secs(), "no receipt; asking again"
        );
        self.follower.rewind(self.window.receipted())?;
        let piece = self.follower.next_there_is(1)?;
        self.follower.rewind(self.window.next())?;
        let Some(piece) = piece else { return Ok(()) };
        let frontends = &self.shipper.frontends;
        match frontends.chunk(self.frontend, self.attempt, piece.offset, &piece.bytes).await {
            Ok(pending) => {
                self.confirms.push(Box::pin(pending.confirmed()));
                Ok(())
            }
            Err(error) => self.set_back(&error).await,
        }
    }

    /// A chunk may not have arrived: once the broker is there again, everything from the last receipt on is
    /// sent again.
    async fn set_back(&mut self, error: &PublishError) -> Result<(), ShipError> {
        if !self.troubled {
            self.troubled = true;
            tracing::warn!(
                operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(), %error,
                "a chunk was not confirmed; it is sent again"
            );
        }
        self.confirms.clear();
        self.permits.clear();
        self.window.rewind();
        self.align()?;
        self.ask = None;
        self.asked = false;
        let lost = matches!(error, PublishError::Lost | PublishError::NotConnected);
        sleep(if lost { BREATH } else { PAUSE }).await;
        self.shipper.frontends.up().await;
        Ok(())
    }
}

async fn until(ask: Option<(Instant, Duration)>) {
    match ask {
        Some((at, _)) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
