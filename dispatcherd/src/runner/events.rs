//! What Ansible's callback plug-in says over a unix socket, and plug-in runners over a named pipe: one JSON object a line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::name::{DocumentName, PlanHash};
use aegir_protocol::operation::Entity;
use aegir_protocol::record::{Progress, Step, StepStatus};
use aegir_protocol::runner::{Line, PROTOCOL};
use aegir_protocol::state::Reason;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, timeout};

use super::account::Account;

/// The plug-in that belongs to this runner: `VERSION` in `callback_plugins/aegir.py`.
const VERSION: u32 = 3;
/// The longest line that is taken; the plug-in's own limits are far below.
const LONGEST_LINE: usize = 2 * 1024 * 1024;
/// The longest message of a step that a reason repeats, in characters.
const LONGEST_REASON: usize = 1000;
/// How many failures are kept for the reason.
const FAILURES: usize = 8;
/// How long what is already in the socket may take when the child has ended.
const DRAIN: Duration = Duration::from_millis(200);
/// The same of a pipe, which has no end: what a child that has ended wrote is in it.
const DRAIN_PIPE: Duration = Duration::from_millis(20);
/// How long all of it may take.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// One line of the plug-in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// The first line.
    Hello {
        /// The plug-in's version.
        version: u32,
        /// Ansible's.
        ansible: String,
    },
    /// One host's result of one step.
    Step {
        /// The step's name.
        name: String,
        /// The module.
        action: String,
        /// The minion.
        host: String,
        /// How it went.
        status: StepStatus,
        /// Of a loop, which item.
        item: Option<String>,
        /// How long it took.
        duration_ms: u64,
        /// What the module says.
        message: Option<String>,
        /// Before and after.
        diff: Option<Value>,
    },
    /// A value for the frontend.
    Document {
        /// Which.
        name: String,
        /// What it is about, if not the target: kind and id.
        entity: Option<Value>,
        /// The value.
        value: Value,
    },
    /// A value that is too large for any record.
    LeftOut {
        /// Which.
        name: String,
        /// How large it is.
        bytes: usize,
    },
    /// What a plug-in runner would change.
    #[serde(skip)]
    Plan {
        /// Over all that it depends on.
        hash: PlanHash,
        /// The changes.
        changes: Value,
    },
    /// How far the Task is.
    Progress {
        /// 0 to 100.
        percent: f64,
        /// What is being done.
        message: Option<String>,
    },
    /// The last line: Ansible has come to its own end.
    Stats {
        /// Counts by host.
        hosts: BTreeMap<String, BTreeMap<String, u64>>,
    },
    /// A plug-in runner's first line.
    #[serde(skip)]
    Greeting {
        /// What it speaks.
        protocol: String,
    },
    /// A plug-in runner's line that is none.
    #[serde(skip)]
    Nonsense(String),
}

impl From<Line> for Event {
    fn from(line: Line) -> Self {
        match line {
            Line::Greeting { protocol, .. } => Self::Greeting { protocol },
            Line::Step { name, status, host, duration_ms, message, diff } => Self::Step {
                name,
                action: String::new(),
                host: host.unwrap_or_default(),
                status,
                item: None,
                duration_ms,
                message,
                diff,
            },
            Line::Document { name, entity, value } => {
                Self::Document { name: name.to_string(), entity: entity.map(|entity| json!(entity)), value }
            }
            Line::Plan { hash, changes } => Self::Plan { hash, changes },
            Line::Progress { percent, message } => Self::Progress { percent: f64::from(percent), message },
        }
    }
}

/// A step that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) host: String,
    pub(super) step: String,
    pub(super) message: String,
    pub(super) unreachable: bool,
}

impl Failure {
    /// The reason of a Task that failed with this. A role or plug-in can say which of the codes it means:
    /// `source_not_allowed: …`.
    pub(super) fn reason(&self, others: usize) -> Reason {
        let message: String = self.message.chars().take(LONGEST_REASON).collect();
        let more = if others == 0 { String::new() } else { format!("; {others} more failed") };
        let own = message.split_once(": ").and_then(|(word, rest)| Some((Code::from_word(word)?, rest)));
        let (code, message) = own.unwrap_or((Code::TaskFailed, &message));
        let at = if self.host.is_empty() { String::new() } else { format!("{}: ", self.host) };
        code.because(format!("{at}{}: {message}{more}", self.step))
    }
}

/// What was learned from the events of one Task.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// The plug-in was there.
    pub(super) greeted: bool,
    /// Ansible has come to its own end.
    pub(super) stats: bool,
    /// The first failures.
    pub(super) failures: Vec<Failure>,
    pub(super) steps: u64,
}

/// Where events come from.
#[derive(Debug)]
enum Source {
    /// Ansible's callback plug-in, when it has connected.
    Callback(UnixListener, Option<UnixStream>),
    /// A plug-in runner. The pipe is open for writing here too, so it has no end.
    Plugin(Receiver),
}

/// Where events come from, and what was learned of them.
#[derive(Debug)]
pub(super) struct Events {
    source: Source,
    /// What was read and is not a whole line yet.
    held: Vec<u8>,
    ended: bool,
    tally: Tally,
}

impl Events {
    /// Listens at a path, which must be shorter than 108 bytes.
    ///
    /// # Errors
    /// When it can't.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self::from(Source::Callback(UnixListener::bind(path)?, None)))
    }

    /// Reads a named pipe.
    ///
    /// # Errors
    /// When it can't.
    pub(super) fn of_plugin(path: &Path) -> io::Result<Self> {
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        Ok(Self::from(Source::Plugin(pipe)))
    }

    fn from(source: Source) -> Self {
        Self { source, held: Vec::new(), ended: false, tally: Tally::default() }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether nothing more will come.
    #[must_use]
    pub(super) fn done(&self, child_ended: bool) -> bool {
        let nobody = match &self.source {
            Source::Callback(_, connection) => connection.is_none(),
            // What is still in the pipe is taken when the child has ended.
            Source::Plugin(_) => true,
        };
        self.ended || (child_ended && nobody)
    }

    /// The next event; `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(newline) = memchr::memchr(b'\n', &self.held) {
                let line: Vec<u8> = self.held.drain(..=newline).collect();
                if matches!(self.source, Source::Plugin(_)) {
                    return Some(of_plugin(&line));
                }
                match serde_json::from_slice(&line) {
                    Ok(event) => return Some(event),
                    Err(error) => tracing::warn!(%error, "the callback plug-in said something unknown"),
                }
                continue;
            }
            if self.ended {
                return None;
            }
            if self.held.len() > LONGEST_LINE && matches!(self.source, Source::Plugin(_)) {
                self.held.clear();
                return Some(Event::Nonsense(format!("a line of more than {LONGEST_LINE} bytes")));
            }
            if self.read().await.is_err()
                || self.held.len() > LONGEST_LINE && !matches!(self.source, Source::Plugin(_))
            {
                self.ended = true;
            }
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.held.capacity() - self.held.len() < 16 * 1024 {
            self.held.reserve(64 * 1024);
        }
        let read = match &mut self.source {
            Source::Callback(_, Some(connection)) => connection.read_buf(&mut self.held).await?,
            Source::Callback(listener, empty) => {
                empty.insert(listener.accept().await?.0).read_buf(&mut self.held).await?
            }
            Source::Plugin(pipe) => pipe.read_buf(&mut self.held).await?,
        };
        if read == 0 {
            self.ended = true;
        }
        Ok(())
    }

    /// Takes what the child has said before it ended.
    ///
    /// # Errors
    /// As [`Events::take`], the first.
    pub(super) async fn drain(&mut self, account: &RefCell<Account>) -> Result<(), Reason> {
        let wait = match &self.source {
            Source::Callback(..) => DRAIN,
            Source::Plugin(_) => DRAIN_PIPE,
        };
        // Whoever still speaks is not the child.
        let end = Instant::now() + DRAIN_AT_MOST;
        let mut refused = Ok(());
        while Instant::now() < end {
            let Ok(Some(event)) = timeout(wait, self.next()).await else { break };
            refused = refused.and(self.take(event, account));
        }
        if matches!(self.source, Source::Plugin(_)) && !self.held.is_empty() {
            // A last line may have no newline.
            let line = std::mem::take(&mut self.held);
            refused = refused.and(self.take(of_plugin(&line), account));
        }
        refused
    }

    /// Writes an event into the account.
    ///
    /// # Errors
    /// When the plug-in is not the one that belongs to this runner.
    pub(super) fn take(&mut self, event: Event, account: &RefCell<Account>) -> Result<(), Reason> {
        let mut account = account.borrow_mut();
        let wrong = |what: &str| {
            let message =
                format!("the plug-in {what}: `aegir runner check` says what it should say on descriptor 3");
            Err(Code::RunnerFailed.because(message))
        };
        let plugin = matches!(self.source, Source::Plugin(_));
        if plugin && !self.tally.greeted && !matches!(event, Event::Greeting { .. } | Event::Nonsense(_)) {
            return wrong("does not greet first");
        }
        match event {
            Event::Greeting { protocol } if protocol == PROTOCOL => self.tally.greeted = true,
            Event::Greeting { protocol } => {
                return wrong(&format!("speaks {:?}, not {PROTOCOL:?}", short(&protocol)));
            }
            Event::Nonsense(problem) => {
                return wrong(&format!("says something that is no line of the protocol ({problem})"));
            }
            Event::Hello { version, ansible } => {
                self.tally.greeted = true;
                tracing::debug!(version, ansible, "the callback plug-in is there");
                if version != VERSION {
                    return Err(Code::RunnerFailed.because(format!(
                        "the callback plug-in has version {version}, this dispatcherd needs {VERSION}: set \
                         ansible.plugins in its config to the folder that came with it"
                    )));
                }
            }
            Event::Step { name, action, host, status, item, duration_ms, message, diff } => {
                // Before anything is cut off: the redactor finds whole secrets only.
                let message = message.map(|text| account.mask(&text));
                if item.is_none() {
                    self.tally.steps += 1;
                    self.count(&host, &name, status, message.as_deref());
                }
                account.step(Step { task: 0, name, action, host, status, item, duration_ms, message, diff });
            }
            Event::Document { name, entity, value } => match (name.parse::<DocumentName>(), about(entity)) {
                (Ok(name), Ok(entity)) => account.document(name, entity, value),
                (Err(error), _) => account.leave_out(&short(&name), &error.to_string()),
                (Ok(name), Err(problem)) => account.leave_out(name.as_str(), &problem),
            },
            Event::LeftOut { name, bytes } => {
                let problem = format!("its record would have {bytes} bytes, and may have {MAX_RECORD}");
                account.leave_out(&short(&name), &problem);
            }
            Event::Plan { hash, changes } => account.plan(hash, &changes),
            Event::Progress { percent, message } => {
                // In range by the clamp.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let percent = percent.clamp(0.0, 100.0) as u8;
                account.progress(Progress { task: 0, percent, message });
            }
            Event::Stats { .. } => self.tally.stats = true,
        }
        Ok(())
    }

    fn count(&mut self, host: &str, step: &str, status: StepStatus, message: Option<&str>) {
        let unreachable = match status {
            StepStatus::Unreachable => true,
            StepStatus::Failed => false,
            StepStatus::Ok | StepStatus::Changed | StepStatus::Ignored | StepStatus::Skipped => return,
        };
        if self.tally.failures.len() < FAILURES {
            self.tally.failures.push(Failure {
                host: host.to_owned(),
                step: step.to_owned(),
                message: message.unwrap_or_default().to_owned(),
                unreachable,
            });
        }
    }
}

/// A line of a plug-in runner.
fn of_plugin(line: &[u8]) -> Event {
    match serde_json::from_slice::<Line>(line) {
        Ok(line) => line.into(),
        Err(error) => Event::Nonsense(error.to_string()),
    }
}

/// What a document is about, if not the target.
fn about(entity: Option<Value>) -> Result<Option<Entity>, String> {
    entity
        .map(|entity| {
            serde_json::from_value(entity).map_err(|error| format!("its entity is not one: {error}"))
        })
        .transpose()
}

/// As much of a name that a role made up as is worth showing.
fn short(name: &str) -> String {
    name.chars().take(64).collect()
}
