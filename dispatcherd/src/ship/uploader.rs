//! Sends the chunks of one transcript, within its window.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aegir_amqp::{PublishError, Status};
use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::AttemptId;
use aegir_protocol::limits::{ATTEMPT_WINDOW, MAX_RECORD};
use aegir_protocol::name::FrontendName;
use aegir_protocol::record::Finished;
use aegir_transcript::{FollowError, Follower, Piece, finished};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::shipper::{ShipError, Shipped, Shipper};
use super::uploads::Upload;
use super::window::AttemptWindow;

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
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
/// After any other setback, such as a full queue.
const PAUSE: Duration = Duration::from_secs(1);

type Confirm = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>;
type PermitFuture = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

/// One transcript on its way.
pub(super) struct Uploader<'a> {
    shipper: &'a Shipper,
    attempt: AttemptId,
    frontend: &'a FrontendName,
    directory: &'a AttemptDirectory,
    upload: &'a mut Upload,
    follower: Follower,
    window: AttemptWindow,
    /// What is sent next, synced, and its place in the line of those who wait for the frontend's window.
    next: Option<(Piece, PermitFuture)>,
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
    unknowns_seen: u64,
    /// relayd did not know this attempt when it was last asked.
    was_unknown: bool,
    failing: bool,
    /// Of the session with the broker.
    status: watch::Receiver<Status>,
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

impl<'a> Uploader<'a> {
    pub(super) fn new(
        shipper: &'a Shipper,
        attempt: AttemptId,
        frontend: &'a FrontendName,
        directory: &'a AttemptDirectory,
        upload: &'a mut Upload,
        follower: Follower,
    ) -> Self {
        let was_unknown = directory.unknown().exists();
        Self {
            shipper,
            attempt,
            frontend,
            directory,
            upload,
            follower,
            // One chunk is question enough for a relayd that knew nothing of it before.
            window: AttemptWindow::new(if was_unknown { CHUNK as u64 } else { ATTEMPT_WINDOW }),
            next: None,
            permits: VecDeque::new(),
            confirms: FuturesUnordered::new(),
            at_end: false,
            ask: None,
            asked: false,
            receipts_seen: 0,
            replays_seen: 0,
            unknowns_seen: 0,
            was_unknown,
            failing: false,
            status: shipper.frontends.status(),
        }
    }

    /// Everything that may have to be waited for is waited for here, and nowhere else: with all attempts in line
    /// for the window, what gives room again is a receipt, or a session that ends, of any of them.
    pub(super) async fn run(mut self, gone: &CancellationToken) -> Result<Shipped, ShipError> {
        let mut runner_gone = gone.is_cancelled();
        loop {
            if let Some(finished) = self.take_feedback()? {
                return Ok(Shipped::Complete(finished));
            }
            if self.at_end && runner_gone && self.window.receipted() == self.follower.offset() {
                // A finished one ends with a receipt that says `complete`.
                if self.finished()?.is_none() {
                    return Ok(Shipped::Unfinished);
                }
            }
            let may_read = !self.at_end
                && self.next.is_none()
                && self.window.available() >= CHUNK as u64
                && self.confirms.len() < UNCONFIRMED;
            tokio::select! {
                biased;
                changed = self.upload.feedback.changed() => {
                    if changed.is_err() {
                        // Somebody else took this attempt's place, which nothing in this program does.
                        pending::<()>().await;
                    }
                }
                Some(outcome) = self.confirms.next(), if !self.confirms.is_empty() => {
                    match outcome {
                        Ok(()) => self.failing = false,
                        Err(error) => self.resend_after(&error).await?,
                    }
                }
                permit = next_permit(&mut self.next) => {
                    if let Some((piece, _)) = self.next.take() {
                        self.send(piece, permit).await?;
                    }
                }
                piece = read(&mut self.follower, runner_gone), if may_read => match piece? {
                    Read::Piece(piece) => self.request_permit(piece).await?,
                    Read::End => self.at_end = true,
                },
                () = until(self.ask) => self.ask_for_receipt().await?,
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
    fn take_feedback(&mut self) -> Result<Option<Finished>, ShipError> {
        let feedback = self.upload.feedback.borrow_and_update().clone();
        if feedback.unknowns != self.unknowns_seen {
            self.unknowns_seen = feedback.unknowns;
            // With nothing out it is the answer to what an earlier process has sent, and old.
            if let Some(unknown) = feedback.unknown
                && self.window.in_flight() > 0
            {
                return Err(ShipError::Unknown(unknown));
            }
        }
        if feedback.receipts != self.receipts_seen {
            self.receipts_seen = feedback.receipts;
            self.clear_unknown();
            if let Some(finished) = self.receipt(feedback.offset, feedback.complete)? {
                return Ok(Some(finished));
            }
        }
        if feedback.replays != self.replays_seen {
            self.replays_seen = feedback.replays;
            self.clear_unknown();
            if self.window.replay(feedback.replay) {
                self.permits.clear();
                if let Err(error) = self.align() {
                    tracing::error!(
                        operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(),
                        offset = feedback.replay, %error, "relayd asks for a replay where no record begins"
                    );
                    self.window.rewind();
                    self.window.replay(0);
                    self.align()?;
                }
            }
        }
        Ok(None)
    }

    fn clear_unknown(&mut self) {
        if !std::mem::take(&mut self.was_unknown) {
            return;
        }
        tracing::info!(
            operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(),
            "relayd knows this attempt again"
        );
        if let Err(error) = std::fs::remove_file(self.directory.unknown()) {
            tracing::warn!(path = %self.directory.unknown().display(), %error, "can't remove an outdated mark");
        }
    }

    fn receipt(&mut self, offset: u64, complete: bool) -> Result<Option<Finished>, ShipError> {
        if offset > self.window.next()
            && let Err(error) = self.seek(offset)
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
        self.upload.receipted.store(self.window.receipted(), Ordering::Relaxed);
        if self.asked && self.window.in_flight() > 0 {
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

    /// Puts the follower where the window goes on. What is in line keeps its place if it is what comes next.
    fn align(&mut self) -> Result<(), FollowError> {
        if self.next.as_ref().is_none_or(|(piece, _)| piece.offset != self.window.next()) {
            self.seek(self.window.next())?;
        }
        // Looked at again in any case: it costs one read.
        self.at_end = false;
        Ok(())
    }

    /// Puts the follower somewhere else; what was in line is read again when its turn comes.
    fn seek(&mut self, offset: u64) -> Result<(), FollowError> {
        if self.follower.offset() != offset {
            self.follower.rewind(offset)?;
        }
        self.next = None;
        Ok(())
    }

    fn finished(&self) -> Result<Option<(Finished, u64)>, ShipError> {
        let path = self.directory.transcript();
        finished(&path).map_err(|error| ShipError::End { path, error })
    }

    /// Gets in line for the frontend's window.
    async fn request_permit(&mut self, piece: Piece) -> Result<(), ShipError> {
        self.follower.sync_data().await?;
        let (frontend_window, frontend, bytes) =
            (self.shipper.frontend_window.clone(), self.frontend.clone(), piece.bytes.len());
        let permit_future = Box::pin(async move { frontend_window.acquire(&frontend, bytes).await });
        self.next = Some((piece, permit_future));
        Ok(())
    }

    async fn send(&mut self, piece: Piece, permit: OwnedSemaphorePermit) -> Result<(), ShipError> {
        let frontends = &self.shipper.frontends;
        match frontends.chunk(self.frontend, self.attempt, piece.offset, &piece.bytes).await {
            Ok(pending) => {
                self.confirms.push(Box::pin(pending.confirmed()));
                self.window.sent(piece.end());
                self.permits.push_back((piece.end(), permit));
                self.expect_receipt();
                Ok(())
            }
            Err(error) => self.resend_after(&error).await,
        }
    }

    /// From here on relayd's silence means something, as long as bytes are out or the end is not receipted.
    fn expect_receipt(&mut self) {
        let waiting = self.window.in_flight() > 0;
        match self.ask {
            None if waiting => self.ask = Some((Instant::now() + SILENCE, SILENCE)),
            Some(_) if !waiting => self.ask = None,
            None | Some(_) => {}
        }
    }

    /// relayd has been silent while bytes are out. The transcript's first record is sent again: it answers with what
    /// it has, whatever that is. While it is away questions are all that piles up in its queue, beyond every window, and
    /// no record is as small as the first.
    async fn ask_for_receipt(&mut self) -> Result<(), ShipError> {
        let silent = self.ask.map_or(SILENCE, |(_, silent)| silent);
        let longer = (silent * 2).min(LONGEST_SILENCE);
        self.ask = Some((Instant::now() + longer, longer));
        self.asked = true;
        tracing::debug!(
            operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(),
            offset = self.window.receipted(), silent_seconds = silent.as_secs(), "no receipt; asking again"
        );
        let here = self.follower.offset();
        self.follower.rewind(0)?;
        let piece = self.follower.next_there_is(1)?;
        self.follower.rewind(here)?;
        let Some(piece) = piece else { return Ok(()) };
        let frontends = &self.shipper.frontends;
        match frontends.chunk(self.frontend, self.attempt, piece.offset, &piece.bytes).await {
            Ok(pending) => {
                self.confirms.push(Box::pin(pending.confirmed()));
                Ok(())
            }
            Err(error) => self.resend_after(&error).await,
        }
    }

    /// A chunk may not have arrived: once the broker is there again, everything from the last receipt on is
    /// sent again.
    async fn resend_after(&mut self, error: &PublishError) -> Result<(), ShipError> {
        if !self.failing {
            self.failing = true;
            tracing::warn!(
                operation_id = %self.attempt.operation, attempt = self.attempt.attempt.get(), %error,
                "a chunk was not confirmed; it is sent again"
            );
        }
        self.confirms.clear();
        self.permits.clear();
        self.next = None;
        self.window.rewind();
        self.align()?;
        self.ask = None;
        self.asked = false;
        let lost = matches!(error, PublishError::Lost | PublishError::NotConnected);
        sleep(if lost { RECONNECT_PAUSE } else { PAUSE }).await;
        self.shipper.frontends.up().await;
        Ok(())
    }
}

async fn until(ask: Option<(Instant, Duration)>) {
    match ask {
        Some((at, _)) => sleep_until(at).await,
        None => pending().await,
    }
}

async fn next_permit(next: &mut Option<(Piece, PermitFuture)>) -> OwnedSemaphorePermit {
    match next {
        Some((_, permit_future)) => permit_future.await,
        None => pending().await,
    }
}
