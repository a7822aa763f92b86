//! Watching an Operation to its end, however often the connection breaks in between.

use std::time::Duration;

use aegir_api::OperationSummary;
use aegir_protocol::id::OperationId;
use reqwest::{Method, Response};

use crate::client::{Client, chain};
use crate::error::Error;
use crate::sse::{Parser, SseEvent};

/// relayd sends something at least every five seconds; after this long without a byte it is away.
const SILENCE: Duration = Duration::from_secs(15);
/// The pause before the first new attempt to connect; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(3);

/// What is told to a [`FollowOutput`].
#[derive(Debug)]
pub enum FollowUpdate<'a> {
    /// Where the Operation stands now.
    State(&'a OperationSummary),
    /// The next record, without its newline.
    Record {
        /// Of which attempt.
        attempt: u32,
        /// The line.
        line: &'a [u8],
    },
    /// relayd is away; following goes on by itself as soon as it is back.
    Away(&'a str),
    /// relayd is back.
    Back,
}

/// Who watches.
pub trait FollowOutput {
    /// Takes one piece of news.
    ///
    /// # Errors
    /// When it can't be shown; following then ends.
    fn news(&mut self, news: FollowUpdate<'_>) -> Result<(), Error>;

    /// Nothing more is there at the moment: what was held back is to be shown.
    ///
    /// # Errors
    /// As for [`Self::news`].
    fn pause(&mut self) -> Result<(), Error>;
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
    fn path(&self, id: OperationId) -> String {
        let mut path = format!("/api/v1/operations/{id}/events");
        let mut separator = '?';
        let mut add = |name: &str, value: Option<u64>| {
            if let Some(value) = value {
                path.push_str(&format!("{separator}{name}={value}"));
                separator = '&';
            }
        };
        add("attempt", self.attempt.map(u64::from));
        add("tail", self.tail);
        path
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

/// Why a connection ended.
enum Ended {
    /// The Operation is over, and every record was seen.
    AtEnd,
    /// Anything else: connect again.
    Broken(String),
}

struct Follower<'a, W> {
    client: &'a Client,
    watcher: &'a mut W,
    position: Position,
    summary: Option<OperationSummary>,
}

/// Tells the watcher every record once and in order, and each change of state, until the Operation has ended.
/// Connects again for as long as it takes once the first connection has succeeded. Returns where the Operation
/// stood at its end.
///
/// # Errors
/// When relayd can't be reached the first time, refuses, or the watcher can't go on.
pub async fn follow<W: FollowOutput>(
    client: &Client,
    id: OperationId,
    start: Start,
    watcher: &mut W,
) -> Result<OperationSummary, Error> {
    let path = start.path(id);
    let mut follower = Follower { client, watcher, position: Position::default(), summary: None };
    let mut response = Some(follower.connect(&path).await?);
    let mut pause = FIRST_PAUSE;
    loop {
        let broken = match response.take() {
            Some(connected) => match follower.read(connected).await? {
                Ended::AtEnd => break,
                Ended::Broken(why) => why,
            },
            None => match follower.connect(&path).await {
                Ok(connected) => {
                    follower.watcher.news(FollowUpdate::Back)?;
                    response = Some(connected);
                    pause = FIRST_PAUSE;
                    continue;
                }
                Err(error) if goes_on(&error) => error.to_string(),
                Err(error) => return Err(error),
            },
        };
        follower.watcher.news(FollowUpdate::Away(&broken))?;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
    match follower.summary {
        Some(summary) => Ok(summary),
        None => Ok(client.operation(id).await?.summary),
    }
}

/// Whether it makes sense to try again: nobody there, or somebody who is not ready.
pub(crate) fn goes_on(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::BrokeOff(_) => true,
        Error::Refused(problem) => problem.status >= 500,
        // A proxy in between that answers with a page of its own while relayd is away.
        Error::Answer { .. } => true,
        Error::Usage(_)
        | Error::File { .. }
        | Error::Token { .. }
        | Error::NoSuchPrefix(_)
        | Error::NoSuchDocument { .. }
        | Error::NoSuchRole(_)
        | Error::NoneYet
        | Error::Ambiguous { .. }
        | Error::Output(_) => false,
    }
}

impl<W: FollowOutput> Follower<'_, W> {
    async fn connect(&self, path: &str) -> Result<Response, Error> {
        let mut request = self.client.request(Method::GET, path).header("Accept", "text/event-stream");
        if let Some(id) = self.position.last_event_id() {
            request = request.header("Last-Event-ID", id);
        }
        match tokio::time::timeout(SILENCE, self.client.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                address: self.client.address().to_string(),
                message: format!("no answer within {} seconds", SILENCE.as_secs()),
            }),
        }
    }

    async fn read(&mut self, mut response: Response) -> Result<Ended, Error> {
        let mut parser = Parser::default();
        loop {
            let bytes = match tokio::time::timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => return Ok(Ended::Broken("the connection was closed".to_owned())),
                Ok(Err(error)) => return Ok(Ended::Broken(chain(&error))),
                Err(_) => return Ok(Ended::Broken(format!("not a byte for {} seconds", SILENCE.as_secs()))),
            };
            parser.push(&bytes);
            loop {
                match parser.next_event() {
                    Ok(Some(event)) => {
                        if let Some(ended) = self.event(&event)? {
                            self.watcher.pause()?;
                            return Ok(ended);
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return Ok(Ended::Broken(error.to_string())),
                }
            }
            self.watcher.pause()?;
        }
    }

    fn event(&mut self, event: &SseEvent) -> Result<Option<Ended>, Error> {
        let unclear = |message: String| Error::Answer { what: "following an Operation".to_owned(), message };
        match event.kind.as_str() {
            "record" => {
                let at = event.id.as_deref().and_then(Position::parse);
                let at = at.ok_or_else(|| unclear("a record has no number".to_owned()))?;
                match self.position.fit(at) {
                    Fit::Seen => {}
                    Fit::Gap => return Ok(Some(Ended::Broken("a record is missing".to_owned()))),
                    Fit::Next => {
                        self.position = Position(Some(at));
                        self.watcher.news(FollowUpdate::Record { attempt: at.0, line: &event.data })?;
                    }
                }
            }
            "state" => {
                let summary: OperationSummary =
                    serde_json::from_slice(&event.data).map_err(|error| unclear(error.to_string()))?;
                if self.summary.as_ref() != Some(&summary) {
                    self.watcher.news(FollowUpdate::State(&summary))?;
                    self.summary = Some(summary);
                }
            }
            "end" => return Ok(Some(Ended::AtEnd)),
            // A newer relayd may send more kinds.
            _ => {}
        }
        Ok(None)
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
