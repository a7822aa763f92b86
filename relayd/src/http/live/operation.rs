//! The events of one Operation: its records, its states, its end.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegir_api::{OperationDetail, OperationSummary};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::problem::Problem;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::event::{PING, PING_AFTER, answer, document, end, records};
use crate::http::answer::{Answer, ProblemResponse};
use crate::http::extract::Id;
use crate::http::query::{FROM_ONE, FromQuery, Parameters, QueryParameters};
use crate::http::state::HttpState;
use crate::operations::Operations;

/// How many bytes of records are read from the store at a time.
const PIECE: usize = 128 * 1024;
/// While records keep coming, the state is looked at no more often than this.
const STATE_EVERY: Duration = Duration::from_millis(100);

/// The query.
pub(crate) struct EventsQuery {
    attempt: Option<Attempt>,
    /// The number of the first record.
    from: Option<u64>,
    /// Only so many of what is there already.
    tail: Option<u64>,
}

impl FromQuery for EventsQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] =
        &[("attempt", FROM_ONE), ("from", FROM_ONE), ("tail", "0 or more")];

    fn read(given: &QueryParameters) -> Answer<Self> {
        Ok(Self { attempt: given.attempt()?, from: given.at_least_one("from")?, tail: given.parsed("tail")? })
    }
}

/// `GET /operations/{id}/events`.
pub(crate) async fn operation(
    State(site): State<HttpState>,
    Id(id): Id,
    Parameters(query): Parameters<EventsQuery>,
    headers: HeaderMap,
) -> Answer<Response> {
    // Watching starts before the first look, so that nothing falls between the two.
    let watch = site.operations.watch(id);
    let detail = site.operations.detail(id).await?;
    let last = headers.get("last-event-id").map(|value| last_event_id(value.to_str().unwrap_or_default()));
    let (attempt, next) = match last.transpose()? {
        Some((attempt, seq)) => (attempt, seq + 1),
        None => start(&detail, &query),
    };
    if attempt > detail.summary.attempt {
        return Err(ProblemResponse::new(
            Code::NoSuchAttempt,
            format!("there is no attempt {attempt} at Operation {id}"),
        ));
    }
    let events = Events {
        operations: Arc::clone(&site.operations),
        stop: site.stop.clone(),
        id,
        watch,
        attempt,
        next,
        told: None,
        now: detail.summary,
        looked_at: Instant::now(),
        stale: false,
        ended: false,
    };
    Ok(answer(stream::unfold(events, |mut events| async move { Some((events.next().await?, events)) })))
}

/// Where a client starts that has seen nothing yet.
fn start(detail: &OperationDetail, query: &EventsQuery) -> (Attempt, u64) {
    let attempt = query.attempt.unwrap_or(detail.summary.attempt);
    let stored = detail.attempts.iter().find(|stored| stored.attempt == attempt);
    let count = stored.map_or(0, |stored| stored.transcript_records);
    let tail = query.tail.map_or(1, |tail| count.saturating_sub(tail) + 1);
    (attempt, query.from.unwrap_or(1).max(tail).max(1))
}

/// Reads `ATTEMPT-SEQ`.
fn last_event_id(text: &str) -> Answer<(Attempt, u64)> {
    let parts = text.split_once('-').and_then(|(attempt, seq)| {
        Some((attempt.parse::<NonZeroU32>().ok()?, seq.parse::<u64>().ok().filter(|&seq| seq < u64::MAX)?))
    });
    let parts = parts.and_then(|(attempt, seq)| Some((Attempt::new(attempt.get())?, seq)));
    parts.ok_or_else(|| {
        ProblemResponse::new(
            Code::FieldInvalid,
            "the header Last-Event-ID is not an id of these events: ATTEMPT-RECORD is expected, as in 1-17",
        )
    })
}

/// A client's place in an Operation's events.
struct Events {
    operations: Arc<Operations>,
    stop: CancellationToken,
    id: OperationId,
    watch: watch::Receiver<u64>,
    attempt: Attempt,
    /// The number of the next record to send.
    next: u64,
    /// The state that the client knows.
    told: Option<OperationSummary>,
    /// The state as it was last looked at.
    now: OperationSummary,
    looked_at: Instant,
    /// Whether anything may have changed since then.
    stale: bool,
    ended: bool,
}

impl Events {
    /// The next bytes to send. `None` after the end, and when relayd stops: the client then comes back.
    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            if self.ended || self.stop.is_cancelled() {
                return None;
            }
            match self.look().await {
                Ok(Some(bytes)) => return Some(Ok(bytes)),
                Ok(None) => {}
                Err(problem) => {
                    self.ended = true;
                    tracing::warn!(operation_id = %self.id, error = problem.detail, "a stream of events broke off");
                    return Some(Err(std::io::Error::other(problem.detail)));
                }
            }
            tokio::select! {
                changed = self.watch.changed() => {
                    self.stale = true;
                    if changed.is_err() {
                        return None;
                    }
                }
                () = tokio::time::sleep(PING_AFTER) => {
                    // Silence of a node changes the state without a commit, so look again.
                    self.stale = true;
                    return Some(Ok(PING));
                }
                () = self.stop.cancelled() => return None,
            }
        }
    }

    /// What is new. `None` when there is nothing and the Operation has not ended.
    async fn look(&mut self) -> Result<Option<Bytes>, Problem> {
        if self.stale && self.looked_at.elapsed() >= STATE_EVERY {
            self.look_at_state().await?;
        }
        loop {
            let mut bytes = BytesMut::new();
            if self.told.as_ref() != Some(&self.now) {
                bytes.extend_from_slice(&document("state", &self.now));
                self.told = Some(self.now.clone());
            }
            let piece = self.operations.records(self.id, Some(self.attempt), self.next, PIECE).await;
            let lines = match piece {
                Ok(piece) => piece.bytes,
                // Nobody has claimed the attempt yet, or it ended before anybody did.
                Err(problem) if problem.status == 404 => Bytes::new(),
                Err(problem) => return Err(problem),
            };
            let (events, count) = records(self.attempt.get(), self.next, &lines);
            self.next += count;
            bytes.extend_from_slice(&events);
            if !bytes.is_empty() {
                return Ok(Some(bytes.freeze()));
            }
            // There are no more records, so it matters what the state says now. It is only then the end when the
            // records were looked for after the state.
            if self.stale {
                self.look_at_state().await?;
            } else if self.now.attempt > self.attempt {
                (self.attempt, self.next) = (self.attempt.next(), 1);
            } else if self.now.state.outcome().is_some() {
                self.ended = true;
                return Ok(Some(end()));
            } else {
                return Ok(None);
            }
        }
    }

    async fn look_at_state(&mut self) -> Result<(), Problem> {
        self.watch.mark_unchanged();
        self.stale = false;
        self.looked_at = Instant::now();
        self.now = self.operations.detail(self.id).await?.summary;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let (attempt, seq) = last_event_id("2-17").unwrap();
        assert_eq!((attempt.get(), seq), (2, 17));
        for wrong in ["", "17", "0-1", "1-", "-1", "1-x", "1-18446744073709551615"] {
            assert!(last_event_id(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
