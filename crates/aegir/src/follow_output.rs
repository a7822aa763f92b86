//! Who watches an Operation: a person, or a program that wants the records.

use std::collections::BTreeSet;

use aegir_api::{AttemptDetail, OperationSummary};
use aegir_client::follow::{FollowUpdate, Start};
use aegir_client::{Client, ClientError};
use aegir_protocol::id::OperationId;
use aegir_protocol::state::State;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::render::Look;
use crate::render::log::{Log, Wanted};
use crate::render::operation::cancellation;
use crate::terminal::{Foot, print};

/// Text above this size is written even though more is there to read.
const ENOUGH: usize = 256 * 1024;

/// Who watches.
pub trait FollowOutput {
    /// Takes one piece of news.
    ///
    /// # Errors
    /// When it can't be shown; following then ends.
    fn news(&mut self, news: &FollowUpdate) -> Result<(), Error>;
}

/// Shows an Operation until it has ended, and gives where it stood then.
///
/// # Errors
/// When relayd can't be reached the first time, refuses, or the output can't go on.
pub async fn follow(
    client: &Client,
    id: OperationId,
    start: Start,
    output: &mut impl FollowOutput,
) -> Result<OperationSummary, Error> {
    let mut events = client.follow(id, start).await?;
    loop {
        let update = events.next().await?;
        output.news(&update)?;
        if let FollowUpdate::End(summary) = update {
            return Ok(*summary);
        }
    }
}

/// A person at a terminal, or a text file. Standard output gets the log; remarks go to standard error.
#[derive(Debug)]
pub struct TextOutput {
    log: Log,
    foot: Foot,
    pending: String,
    told: Option<String>,
    away: bool,
    timed: bool,
}

impl TextOutput {
    /// Who sees these records of the Operation like this.
    #[must_use]
    pub fn new(look: Look, wanted: Wanted) -> Self {
        let log = Log::new(look, wanted);
        Self { log, foot: Foot::new(), pending: String::new(), told: None, away: false, timed: false }
    }

    /// Tells what lies before the records that will come: a transcript's first one, and which of its Tasks are
    /// ansible-playbook's.
    #[must_use]
    pub fn joining(mut self, attempt: u32, first: &[u8], ansible: BTreeSet<u32>) -> Self {
        self.log.joins(attempt, first, ansible);
        self
    }

    /// Shows how the Operation ended.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn end(&mut self, summary: &OperationSummary) -> Result<(), Error> {
        let text = self.log.end(summary);
        self.last(&text)
    }

    /// Shows how an attempt ended that a later one has followed.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn over(&mut self, attempt: &AttemptDetail) -> Result<(), Error> {
        let text = self.log.over(attempt);
        self.last(&text)
    }

    /// Stops watching before the end.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn stop(&mut self) -> Result<(), Error> {
        let text = self.log.attempt_end() + &self.log.close();
        self.last(&text)
    }

    /// Shows a record, as soon as there is enough to show.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn record(&mut self, attempt: u32, line: &[u8]) -> Result<(), Error> {
        self.pending.push_str(&self.log.record(attempt, line));
        if self.pending.len() > ENOUGH { self.flush() } else { Ok(()) }
    }

    /// Shows what was held back: nothing more is there at the moment.
    ///
    /// # Errors
    /// When standard output is closed or full.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.flush()?;
        if !self.timed
            && let Some(started) = self.log.started()
        {
            self.timed = true;
            self.foot.since(started);
        }
        if let Some(status) = self.log.status() {
            self.foot.say(status);
        }
        Ok(())
    }

    fn last(&mut self, text: &str) -> Result<(), Error> {
        self.flush()?;
        self.foot.end();
        print(text.as_bytes())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.pending);
        self.foot.print(&text)
    }

    fn state(&mut self, summary: &OperationSummary) {
        let remark = remark(summary);
        if remark != self.told {
            if let Some(remark) = &remark {
                self.foot.remark(remark);
            }
            self.told = remark;
        }
        if self.log.status().is_none() {
            self.foot.say(summary.state.as_str());
        }
    }
}

/// What a person should know of an Operation that does not show in its log.
fn remark(summary: &OperationSummary) -> Option<String> {
    if summary.state.outcome().is_some() {
        return None;
    }
    if summary.silent {
        let text = "The node has sent nothing for a while. The Operation may still be running; the log resumes when \
                    the node is back. See `aegir check`.";
        return Some(text.to_owned());
    }
    if summary.cancel_requested {
        return Some(cancellation(summary).unwrap_or_else(|| "Cancellation requested".to_owned()));
    }
    if let Some(blocked) = &summary.blocked {
        return Some(format!("Blocked on node {}: {}", blocked.node, blocked.reason));
    }
    match summary.state {
        State::Waiting => {
            let why =
                summary.reason.as_ref().map(|reason| format!(": {}", reason.message)).unwrap_or_default();
            Some(format!("Waiting{why}"))
        }
        State::Queued
        | State::Claimed
        | State::Running
        | State::Succeeded
        | State::Failed
        | State::Canceled
        | State::Rejected
        | State::Lost => None,
    }
}

impl FollowOutput for TextOutput {
    fn news(&mut self, news: &FollowUpdate) -> Result<(), Error> {
        match news {
            FollowUpdate::Record { attempt, line } => self.record(*attempt, line),
            FollowUpdate::State(summary) => {
                self.pending.push_str(&self.log.at(summary.attempt.get()));
                self.flush()?;
                self.state(summary);
                Ok(())
            }
            FollowUpdate::Away(why) => {
                // Whether the Operation has ended by that is not known before relayd is back.
                self.pending.push_str(&self.log.attempt_end());
                self.flush()?;
                if !std::mem::replace(&mut self.away, true) {
                    self.foot.remark(&format!(
                        "Connection lost ({why}). The Operation keeps running; the log resumes by itself."
                    ));
                    self.foot.say("connecting to relayd");
                }
                Ok(())
            }
            FollowUpdate::Back => {
                self.away = false;
                self.foot.remark("Connected again.");
                Ok(())
            }
            FollowUpdate::CaughtUp | FollowUpdate::End(_) => self.pause(),
        }
    }
}

/// A program that wants JSON: the records' own lines, or each piece of news as an object with one key.
#[derive(Debug)]
pub struct JsonOutput {
    /// Whether a line is `{"record": …}` or `{"state": …}` rather than the record alone.
    tagged: bool,
    pending: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Tagged<'a> {
    State(&'a OperationSummary),
    Record(&'a RawValue),
}

impl JsonOutput {
    /// Wants the transcript's lines as they are.
    #[must_use]
    pub fn lines() -> Self {
        Self { tagged: false, pending: Vec::new() }
    }

    /// Wants states and records.
    #[must_use]
    pub fn tagged() -> Self {
        Self { tagged: true, pending: Vec::new() }
    }

    fn push(&mut self, line: &[u8]) -> Result<(), Error> {
        self.pending.extend_from_slice(line);
        self.pending.push(b'\n');
        if self.pending.len() > ENOUGH { self.pause() } else { Ok(()) }
    }

    fn pause(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() { Ok(()) } else { print(&pending) }
    }

    fn push_tagged(&mut self, tagged: &Tagged<'_>) -> Result<(), Error> {
        let line = serde_json::to_vec(tagged).map_err(std::io::Error::from)?;
        self.push(&line)
    }
}

impl FollowOutput for JsonOutput {
    fn news(&mut self, news: &FollowUpdate) -> Result<(), Error> {
        match news {
            FollowUpdate::Record { line, .. } if self.tagged => {
                match serde_json::from_slice::<&RawValue>(line) {
                    Ok(record) => self.push_tagged(&Tagged::Record(record)),
                    Err(error) => {
                        let what = "following an Operation".to_owned();
                        Err(ClientError::Answer { what, message: error.to_string() }.into())
                    }
                }
            }
            FollowUpdate::Record { line, .. } => self.push(line),
            FollowUpdate::State(summary) if self.tagged => self.push_tagged(&Tagged::State(summary)),
            FollowUpdate::State(_) | FollowUpdate::Back => Ok(()),
            FollowUpdate::CaughtUp | FollowUpdate::End(_) => self.pause(),
            FollowUpdate::Away(why) => {
                crate::terminal::remark(&format!("connection lost ({why}); connecting again"));
                Ok(())
            }
        }
    }
}
