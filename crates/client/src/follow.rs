//! Watching an Operation to its end, however often the connection breaks in between.

use std::time::Duration;

use aegir_api::OperationSummary;
use aegir_protocol::id::OperationId;
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use tokio::time::{sleep, timeout};

use crate::address::with_query;
use crate::client::Client;
use crate::error::{ClientError, chain};
use crate::sse::{Parser, SseEvent};

/// relayd sends something at least every five seconds; after this long without a byte it is away.
const SILENCE: Duration = Duration::from_secs(15);
/// The pause before the first new attempt to connect; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// What there is to be known of an Operation that is followed.
#[derive(Debug)]
pub enum FollowUpdate {
    /// Where the Operation stands now.
    State(Box<OperationSummary>),
    /// The next record, without its newline.
    Record {
        /// Of which attempt.
        attempt: u32,
        /// The line.
        line: Vec<u8>,
    },
    /// Nothing more is there at the moment.
    CaughtUp,
    /// relayd is away; following goes on by itself as soon as it is back.
    Away(String),
    /// relayd is back.
    Back,
    /// The Operation is over, every record was given, and it stands so.
    End(Box<OperationSummary>),
}

/// Where following starts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// With which attempt; the latest when absent.
    pub attempt: Option<u32>,
    /// With the last so many records of it; with the first when absent.
    pub tail: Option<u64>,
}

impl Start {
    fn path(self, id: OperationId) -> String {
        let mut query = Vec::new();
        query.extend(self.attempt.map(|attempt| ("attempt", attempt.to_string())));
        query.extend(self.tail.map(|tail| ("tail", tail.to_string())));
        with_query(&format!("/api/v1/operations/{id}/events"), &query)
    }
}

/// What was seen last: the number of an attempt and of a record in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position(Option<(u32, u64)>);

/// What a record is to one who has seen those before it.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Next,
    Seen,
    Gap,
}

impl Position {
    fn parse(id: &str) -> Option<(u32, u64)> {
        let (attempt, seq) = id.split_once('-')?;
        Some((attempt.parse().ok()?, seq.parse().ok()?))
    }

    fn fit(self, (attempt, seq): (u32, u64)) -> Fit {
        match self.0 {
            None => Fit::Next,
            Some(last) if (attempt, seq) <= last => Fit::Seen,
            Some((last_attempt, last_seq)) if attempt == last_attempt && seq == last_seq + 1 => Fit::Next,
            Some((last_attempt, _)) if attempt > last_attempt && seq == 1 => Fit::Next,
            Some(_) => Fit::Gap,
        }
    }

    fn last_event_id(self) -> Option<String> {
        self.0.map(|(attempt, seq)| format!("{attempt}-{seq}"))
    }
}

/// A stream of events that has begun.
#[derive(Debug)]
struct Connection {
    response: Response,
    parser: Parser,
    /// Whether anything came since [`FollowUpdate::CaughtUp`].
    has_news: bool,
}

/// An Operation that is followed: every record once and in order, and each change of state.
#[derive(Debug)]
pub struct OperationEvents {
    client: Client,
    id: OperationId,
    path: String,
    position: Position,
    summary: Option<OperationSummary>,
    connection: Option<Connection>,
    pause: Duration,
}

impl Client {
    /// Follows an Operation to its end. Connects again for as long as it takes once this has succeeded.
    ///
    /// # Errors
    /// When relayd can't be reached, or refuses.
    pub async fn follow(&self, id: OperationId, start: Start) -> Result<OperationEvents, ClientError> {
        let mut events = OperationEvents {
            client: self.clone(),
            id,
            path: start.path(id),
            position: Position::default(),
            summary: None,
            connection: None,
            pause: FIRST_PAUSE,
        };
        events.connect().await?;
        Ok(events)
    }
}

impl OperationEvents {
    /// Waits for what comes next. After [`FollowUpdate::End`] nothing does.
    ///
    /// # Errors
    /// When relayd refuses, or what it sends makes no sense.
    pub async fn next(&mut self) -> Result<FollowUpdate, ClientError> {
        loop {
            let Some(connection) = &mut self.connection else {
                sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LAST_PAUSE);
                return match self.connect().await {
                    Ok(()) => {
                        self.pause = FIRST_PAUSE;
                        Ok(FollowUpdate::Back)
                    }
                    Err(error) if error.is_transient() => Ok(FollowUpdate::Away(error.to_string())),
                    Err(error) => Err(error),
                };
            };
            let update = match connection.parser.next_event() {
                Ok(Some(event)) => self.take(event).await?,
                Ok(None) if std::mem::take(&mut connection.has_news) => Some(FollowUpdate::CaughtUp),
                Ok(None) => connection.read().await.err().map(FollowUpdate::Away),
                Err(error) => Some(FollowUpdate::Away(error.to_string())),
            };
            if let Some(update) = update {
                if matches!(update, FollowUpdate::Away(_)) {
                    self.connection = None;
                }
                return Ok(update);
            }
        }
    }

    async fn connect(&mut self) -> Result<(), ClientError> {
        let mut request = self.client.request(Method::GET, &self.path).header(ACCEPT, "text/event-stream");
        if let Some(id) = self.position.last_event_id() {
            request = request.header("Last-Event-ID", id);
        }
        let response = match timeout(SILENCE, self.client.stream(request)).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(ClientError::Unreachable {
                    address: self.client.address().to_string(),
                    message: format!("no answer within {} seconds", SILENCE.as_secs()),
                    connected: true,
                });
            }
        };
        self.connection = Some(Connection { response, parser: Parser::default(), has_news: false });
        Ok(())
    }

    async fn take(&mut self, event: SseEvent) -> Result<Option<FollowUpdate>, ClientError> {
        let unclear =
            |message: String| ClientError::Answer { what: "following an Operation".to_owned(), message };
        match event.kind.as_str() {
            "record" => {
                let at = event.id.as_deref().and_then(Position::parse);
                let at = at.ok_or_else(|| unclear("a record has no number".to_owned()))?;
                match self.position.fit(at) {
                    Fit::Seen => {}
                    Fit::Gap => return Ok(Some(FollowUpdate::Away("a record is missing".to_owned()))),
                    Fit::Next => {
                        self.position = Position(Some(at));
                        return Ok(Some(FollowUpdate::Record { attempt: at.0, line: event.data }));
                    }
                }
            }
            "state" => {
                let summary: OperationSummary =
                    serde_json::from_slice(&event.data).map_err(|error| unclear(error.to_string()))?;
                if self.summary.as_ref() != Some(&summary) {
                    self.summary = Some(summary.clone());
                    return Ok(Some(FollowUpdate::State(Box::new(summary))));
                }
            }
            "end" => {
                let summary = match self.summary.take() {
                    Some(summary) => summary,
                    None => self.client.operation(self.id).await?.summary,
                };
                return Ok(Some(FollowUpdate::End(Box::new(summary))));
            }
            // A newer relayd may send more kinds.
            _ => {}
        }
        Ok(None)
    }
}

impl Connection {
    /// Waits for the next bytes; or why there will be none.
    async fn read(&mut self) -> Result<(), String> {
        match timeout(SILENCE, self.response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                self.parser.push(&bytes);
                self.has_news = true;
                Ok(())
            }
            Ok(Ok(None)) => Err("the connection was closed".to_owned()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("not a byte for {} seconds", SILENCE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_told_once_and_in_order() {
        let at = Position(Some((1, 7)));
        assert_eq!(Position::default().fit((1, 900)), Fit::Next);
        assert_eq!(at.fit((1, 8)), Fit::Next);
        assert_eq!(at.fit((1, 7)), Fit::Seen);
        assert_eq!(at.fit((1, 9)), Fit::Gap);
        assert_eq!(at.fit((2, 1)), Fit::Next);
        assert_eq!(at.fit((2, 2)), Fit::Gap);
        assert_eq!(at.last_event_id().as_deref(), Some("1-7"));
    }

    #[test]
    fn where_to_start_stands_in_the_path() {
        let id: OperationId = "019235f0-7a3c-7def-8000-000000000001".parse().unwrap();
        let path = |attempt, tail| Start { attempt, tail }.path(id).replace(&id.to_string(), "ID");
        assert_eq!(path(None, None), "/api/v1/operations/ID/events");
        assert_eq!(path(Some(2), Some(9)), "/api/v1/operations/ID/events?attempt=2&tail=9");
    }
}
