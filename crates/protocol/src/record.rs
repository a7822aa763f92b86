//! The records of a transcript.
//!
//! A transcript is JSON Lines. Each line is `{"seq": 1, "at": "…", "kind": "started", "body": {…}}`: `seq` is
//! gap-free from 1, `at` is UTC with microseconds. Reading takes two steps, so that a kind that a newer
//! runner writes is passed on and not refused.

use bytes::Bytes;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::id::{Attempt, OperationId};
use crate::limits::MAX_OUTPUT;
use crate::name::{DocumentName, HostName, NodeName, OperationName, PlanHash, RoleName, TaskName};
use crate::operation::{Entity, Target};
use crate::state::{Outcome, Reason};

/// What a record says.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The first record.
    Started(Started),
    /// A Task begins.
    TaskStarted(TaskStarted),
    /// What one read of a child's stream gave.
    Output(Output),
    /// One host's result of one step of Ansible.
    Step(Step),
    /// A whole value that a Task hands to the frontend.
    Document(Document),
    /// What a Task of a plug-in would change, in a dry run.
    Plan(Plan),
    /// How far a Task is.
    Progress(Progress),
    /// A Task is over.
    TaskFinished(TaskFinished),
    /// The last record.
    Finished(Finished),
}

/// The first record: what this is a transcript of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Started {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// What is done.
    pub name: OperationName,
    /// To what.
    pub target: Target,
    /// By which node.
    pub node: NodeName,
    /// The runner's version.
    pub version: String,
    /// A dry run.
    #[serde(default)]
    pub dry_run: bool,
    /// What `dry_run` was called before. Older transcripts have this one only, and an older relayd reads it only.
    #[serde(default)]
    #[schemars(extend("deprecated" = true))]
    pub check: bool,
    /// SHA-256 of the role's files, in hex; absent when there is no Task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The Tasks of the plan, in order.
    pub tasks: Vec<TaskTitle>,
}

impl Started {
    /// Whether it is a dry run, by the field's name of now or of before.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run || self.check
    }
}

/// A Task, as the plan lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskTitle {
    /// Of which role.
    pub role: RoleName,
    pub name: TaskName,
    /// For people.
    pub title: String,
    /// The attempt that has finished it already, so that this one does not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_in: Option<Attempt>,
}

/// A Task begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskStarted {
    /// The Task's number in the plan, from 1.
    pub task: u32,
    /// Of which role.
    pub role: RoleName,
    pub name: TaskName,
    /// For people.
    pub title: String,
    /// What carries it out: `ansible`, `shell`, or a plug-in's name.
    pub runner: String,
    /// On which minions; none for a Task that runs beside dispatcherd.
    pub hosts: Vec<HostName>,
}

/// A child's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What one read of a child's stream gave: complete lines, up to [`MAX_OUTPUT`] bytes. All outputs of a
/// stream of a Task, put one behind the other, are what the child printed (after masking), byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The Task's number.
    pub task: u32,
    /// Which stream.
    pub stream: Stream,
    /// The number of the first line here, from 1 for each stream of each Task.
    pub line: u64,
    /// Whether this goes on with the line that the record before left open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    /// Newlines included. Absent when the bytes are in `base64`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, where they are not UTF-8 or would be longer as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// The minion that it comes from, where a Task has a child for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
}

impl Output {
    /// The record of these bytes: at most [`MAX_OUTPUT`], more would not fit a record.
    #[must_use]
    pub fn new(
        task: u32,
        stream: Stream,
        host: Option<HostName>,
        line: u64,
        continued: bool,
        bytes: &[u8],
    ) -> Self {
        use base64::Engine as _;
        debug_assert!(bytes.len() <= MAX_OUTPUT);
        let (text, base64) = match std::str::from_utf8(bytes) {
            // A text of control characters is six times as long in JSON; base64 only by a third.
            Ok(text) if escaped_length(text) <= bytes.len() + bytes.len() / 3 + 4 => {
                (Some(text.to_owned()), None)
            }
            Ok(_) | Err(_) => (None, Some(base64::engine::general_purpose::STANDARD.encode(bytes))),
        };
        Self { task, stream, line, continued, text, base64, host }
    }

    /// The bytes that the child printed.
    ///
    /// # Errors
    /// When the record has neither text nor valid base64.
    pub fn bytes(&self) -> Result<Bytes, InvalidRecord> {
        use base64::Engine as _;
        match (&self.text, &self.base64) {
            (Some(text), None) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            (None, Some(base64)) => base64::engine::general_purpose::STANDARD
                .decode(base64)
                .map(Bytes::from)
                .map_err(|error| InvalidRecord(format!("output: {error}"))),
            (Some(_), Some(_)) | (None, None) => {
                Err(InvalidRecord("output: one of text and base64 is expected".to_owned()))
            }
        }
    }
}

/// How many bytes a text takes between the quotes of JSON, as `serde_json` writes it.
fn escaped_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0x00..0x20 => 6,
            _ => 1,
        })
        .sum()
}

/// How a step went on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Nothing to do.
    Ok,
    /// Something was changed (or would be, in a dry run).
    Changed,
    /// It failed, and the Task with it.
    Failed,
    /// It failed, which the role allows.
    Ignored,
    /// A condition left it out.
    Skipped,
    /// The minion could not be reached.
    Unreachable,
}

/// One host's result of one step of Ansible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// The Task's number.
    pub task: u32,
    /// The step's name in the role.
    pub name: String,
    /// The Ansible module: `ansible.builtin.copy`.
    pub action: String,
    /// On which minion.
    pub host: String,
    /// How it went.
    pub status: StepStatus,
    /// Of a loop, which item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
    /// What went wrong, or what the module says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Before and after, where the module tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Value>,
}

/// A whole value that a Task hands to the frontend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// The Task's number.
    pub task: u32,
    /// Which document.
    pub name: DocumentName,
    /// What it is about, if that is not the Operation's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Entity>,
    /// The value; a secret one is sealed for the backend: `{"sealed": "…"}`.
    pub value: Value,
    /// SHA-256 of the value as it stands here, in hex.
    pub sha256: String,
    /// For how long it is to be believed, in seconds; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_seconds: Option<u64>,
}

/// What a Task of a plug-in would change, in a dry run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// The Task's number.
    pub task: u32,
    /// Over all that it depends on.
    pub hash: PlanHash,
    /// The changes, as the plug-in documents them.
    pub changes: Value,
}

/// How far a Task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// The Task's number.
    pub task: u32,
    /// 0 to 100.
    pub percent: u8,
    /// What is being done.
    pub message: Option<String>,
}

/// How a child ended. At most one field is set; none means that it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChildExit {
    /// By itself, with this code.
    pub code: Option<i32>,
    /// By this signal.
    pub signal: Option<i32>,
}

/// Whether what a Task started is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Remains {
    /// It was looked for, and nothing is left; or its own end proves it.
    Gone,
    /// Something is still running.
    Left,
    /// Nobody could look.
    Unknown,
}

/// A Task is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskFinished {
    /// The Task's number.
    pub task: u32,
    /// How it went.
    pub outcome: Outcome,
    pub reason: Reason,
    /// How its child ended.
    pub exit: ChildExit,
    /// The process group beside dispatcherd.
    pub local: Remains,
    /// The processes on the minions.
    pub remote: Remains,
}

/// The last record: nothing follows, and all that came before is accounted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finished {
    /// How the attempt ended.
    pub outcome: Outcome,
    pub reason: Reason,
    /// How many records there are, this one included.
    pub records: u64,
    /// SHA-256 of every byte before this record, in hex.
    pub sha256: String,
}

/// A line that is not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {0}")]
pub struct InvalidRecord(pub String);

#[derive(Serialize)]
struct Line<'a, B> {
    seq: u64,
    at: Timestamp,
    kind: &'static str,
    body: &'a B,
}

/// A record's line before its body is read.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Header<'a> {
    /// The record's number, from 1.
    pub seq: u64,
    /// When it was written.
    pub at: Timestamp,
    /// What it says.
    pub kind: &'a str,
    /// The rest.
    #[serde(borrow)]
    pub body: &'a RawValue,
}

impl Record {
    /// The word in the `kind` field.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started(_) => "started",
            Self::TaskStarted(_) => "task_started",
            Self::Output(_) => "output",
            Self::Step(_) => "step",
            Self::Document(_) => "document",
            Self::Plan(_) => "plan",
            Self::Progress(_) => "progress",
            Self::TaskFinished(_) => "task_finished",
            Self::Finished(_) => "finished",
        }
    }

    /// The record as a line, its newline included.
    #[must_use]
    pub fn to_line(&self, seq: u64, at: Timestamp) -> Vec<u8> {
        let kind = self.kind();
        match self {
            Self::Started(body) => line(seq, at, kind, body),
            Self::TaskStarted(body) => line(seq, at, kind, body),
            Self::Output(body) => line(seq, at, kind, body),
            Self::Step(body) => line(seq, at, kind, body),
            Self::Document(body) => line(seq, at, kind, body),
            Self::Plan(body) => line(seq, at, kind, body),
            Self::Progress(body) => line(seq, at, kind, body),
            Self::TaskFinished(body) => line(seq, at, kind, body),
            Self::Finished(body) => line(seq, at, kind, body),
        }
    }
}

fn line<B: Serialize>(seq: u64, at: Timestamp, kind: &'static str, body: &B) -> Vec<u8> {
    let at = at.round(jiff::Unit::Microsecond).unwrap_or(at);
    let mut bytes = Vec::with_capacity(256);
    serde_json::to_writer(&mut bytes, &Line { seq, at, kind, body })
        .expect("records have string keys and no failing serializers");
    bytes.push(b'\n');
    bytes
}

impl<'a> Header<'a> {
    /// The first step: number, time and kind of a line, with or without its newline.
    ///
    /// # Errors
    /// When the line is not a record.
    pub fn read(line: &'a [u8]) -> Result<Self, InvalidRecord> {
        serde_json::from_slice(line).map_err(|error| InvalidRecord(error.to_string()))
    }

    /// The second step. `None` for a kind that is not known here.
    ///
    /// # Errors
    /// When the body does not fit its kind.
    pub fn record(&self) -> Result<Option<Record>, InvalidRecord> {
        fn read<'a, B: Deserialize<'a>>(header: &Header<'a>) -> Result<B, InvalidRecord> {
            serde_json::from_str(header.body.get())
                .map_err(|error| InvalidRecord(format!("{}: {error}", header.kind)))
        }
        Ok(Some(match self.kind {
            "started" => Record::Started(read(self)?),
            "task_started" => Record::TaskStarted(read(self)?),
            "output" => Record::Output(read(self)?),
            "step" => Record::Step(read(self)?),
            "document" => Record::Document(read(self)?),
            "plan" => Record::Plan(read(self)?),
            "progress" => Record::Progress(read(self)?),
            "task_finished" => Record::TaskFinished(read(self)?),
            "finished" => Record::Finished(read(self)?),
            _ => return Ok(None),
        }))
    }
}

#[cfg(test)]
mod tests;
