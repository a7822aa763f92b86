//! What Ansible's callback plug-in says over a unix socket, and plug-in runners over a named pipe: one JSON object a line.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use aegir_catalog::runner::{Line, PROTOCOL};
use aegir_protocol::code::Code;
use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::name::{DocumentName, PlanHash};
use aegir_protocol::operation::Entity;
use aegir_protocol::record::{Progress, Step, StepStatus};
use aegir_protocol::state::Reason;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::{self, Receiver};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, timeout};

use super::outputs::{DEEPEST, levels};
use super::recorder::Recorder;
use super::step_stats::{CutOff, StepFailure, StepStats};

/// The plug-in that belongs to this runner: `VERSION` in `callback_plugins/aegir.py`.
const VERSION: u32 = 4;
/// The longest line that is taken; the plug-in's own limits are far below.
const LONGEST_LINE: usize = 2 * 1024 * 1024;
/// How long what is already in the socket may take when the child has ended.
const DRAIN: Duration = Duration::from_millis(200);
/// The same of a pipe, which has no end: what a child that has ended wrote is in it.
const DRAIN_PIPE: Duration = Duration::from_millis(20);
/// How long all of it may take.
const DRAIN_AT_MOST: Duration = Duration::from_secs(10);

/// One line of the plug-in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum TaskEvent {
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
        /// It failed, and a rescue section takes care of that.
        rescued: bool,
        /// It runs for hosts that have failed before, too: in an `always` section, or as a handler.
        regardless: bool,
        /// The connection that broke, or did not come up.
        cut_off: Option<CutOff>,
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
        name: String,
        /// What it is about, if not the target: kind and id.
        entity: Option<Value>,
        /// The value.
        value: Value,
    },
    /// A value that is too large for any record.
    LeftOut {
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
    /// Something that can't be carried, or was not understood.
    Lost {
        /// What and why.
        problem: String,
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
        /// How many plays there were.
        plays: usize,
        /// The `hosts` of those that no host matched.
        unmatched: Vec<String>,
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

impl From<Line> for TaskEvent {
    fn from(line: Line) -> Self {
        match line {
            Line::Greeting { protocol, .. } => Self::Greeting { protocol },
            Line::Step { name, status, host, duration_ms, message, diff } => Self::Step {
                name,
                action: String::new(),
                host: host.unwrap_or_default(),
                status,
                rescued: false,
                regardless: true,
                cut_off: None,
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

/// Where events come from.
#[derive(Debug)]
enum Source {
    /// Nobody has connected yet.
    Listener(UnixListener),
    /// Ansible's callback plug-in. Nobody else can connect: nobody would read what others say.
    Callback(UnixStream),
    /// The plug-in is gone, and whoever still has its end of the socket writes to nobody.
    Closed,
    /// A plug-in runner. The pipe is open for writing here too, so it has no end.
    Plugin(Receiver),
}

/// Where events come from, and what was learned of them.
#[derive(Debug)]
pub(super) struct TaskEvents {
    source: Source,
    /// What was read and is not a whole line yet.
    held: Vec<u8>,
    /// Whether that is the rest of a line that was too long.
    skipping: bool,
    ended: bool,
    step_stats: StepStats,
}

impl TaskEvents {
    /// Listens at a path, which must be shorter than 108 bytes.
    ///
    /// # Errors
    /// When it can't.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        Ok(Self::from(Source::Listener(UnixListener::bind(path)?)))
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
        Self { source, held: Vec::new(), skipping: false, ended: false, step_stats: StepStats::default() }
    }

    pub(super) fn step_stats(&self) -> &StepStats {
        &self.step_stats
    }

    /// Whether nothing more will come.
    #[must_use]
    pub(super) fn done(&self, child_ended: bool) -> bool {
        let nobody = match &self.source {
            Source::Listener(_) | Source::Closed => true,
            Source::Callback(_) => false,
            // What is still in the pipe is taken when the child has ended.
            Source::Plugin(_) => true,
        };
        self.ended || (child_ended && nobody)
    }

    fn of_plugin_runner(&self) -> bool {
        matches!(self.source, Source::Plugin(_))
    }

    /// The next event; `None` at the end. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Option<TaskEvent> {
        loop {
            if let Some(newline) = memchr::memchr(b'\n', &self.held) {
                let line: Vec<u8> = self.held.drain(..=newline).collect();
                // The end of a line that was too long.
                if !std::mem::take(&mut self.skipping) {
                    return Some(self.read_line(&line));
                }
                continue;
            }
            if self.ended {
                return None;
            }
            if self.skipping || self.held.len() > LONGEST_LINE {
                // It is read to its end, so that whoever writes it does not wait.
                self.held.clear();
                if !std::mem::replace(&mut self.skipping, true) {
                    let problem = format!("a line of more than {LONGEST_LINE} bytes");
                    return Some(self.not_a_line(problem));
                }
            }
            if let Err(error) = self.read().await {
                tracing::warn!(%error, "what happens in a Task can't be read on");
                self.end();
            }
        }
    }

    fn read_line(&self, line: &[u8]) -> TaskEvent {
        let read = if self.of_plugin_runner() { of_plugin(line) } else { of_callback(line) };
        read.unwrap_or_else(|problem| self.not_a_line(problem))
    }

    fn not_a_line(&self, problem: String) -> TaskEvent {
        if self.of_plugin_runner() { TaskEvent::Nonsense(problem) } else { TaskEvent::Lost { problem } }
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.held.capacity() - self.held.len() < 16 * 1024 {
            self.held.reserve(64 * 1024);
        }
        if let Source::Listener(listener) = &self.source {
            self.source = Source::Callback(listener.accept().await?.0);
        }
        let read = match &mut self.source {
            Source::Callback(connection) => connection.read_buf(&mut self.held).await?,
            Source::Plugin(pipe) => pipe.read_buf(&mut self.held).await?,
            Source::Listener(_) | Source::Closed => 0,
        };
        if read == 0 {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        if let Source::Callback(_) = self.source {
            self.source = Source::Closed;
        }
    }

    /// Takes what the child has said before it ended.
    ///
    /// # Errors
    /// As [`TaskEvents::take`], the first.
    pub(super) async fn drain(&mut self, recorder: &RefCell<Recorder>) -> Result<(), Reason> {
        let wait = match &self.source {
            Source::Listener(_) | Source::Callback(_) | Source::Closed => DRAIN,
            Source::Plugin(_) => DRAIN_PIPE,
        };
        // Whoever still speaks is not the child.
        let end = Instant::now() + DRAIN_AT_MOST;
        let mut refused = Ok(());
        while Instant::now() < end {
            let Ok(Some(event)) = timeout(wait, self.next()).await else { break };
            refused = refused.and(self.take(event, recorder));
        }
        let rest = std::mem::take(&mut self.held);
        if !rest.is_empty() && !self.skipping {
            // A plug-in runner's last line may have no newline; the callback plug-in was ended in the middle of one.
            let event = match of_plugin(&rest) {
                _ if !self.of_plugin_runner() => self.not_a_line("a line without its end".to_owned()),
                read => read.unwrap_or_else(TaskEvent::Nonsense),
            };
            refused = refused.and(self.take(event, recorder));
        }
        refused
    }

    /// Writes an event into the account.
    ///
    /// # Errors
    /// When the plug-in is not the one that belongs to this runner.
    pub(super) fn take(&mut self, event: TaskEvent, recorder: &RefCell<Recorder>) -> Result<(), Reason> {
        let mut recorder = recorder.borrow_mut();
        let wrong = |what: &str| {
            let message =
                format!("the plug-in {what}: `aegir runner check` says what it should say on descriptor 3");
            Err(Code::RunnerFailed.because(message))
        };
        if self.of_plugin_runner()
            && !self.step_stats.greeted
            && !matches!(event, TaskEvent::Greeting { .. } | TaskEvent::Nonsense(_))
        {
            return wrong("does not greet first");
        }
        match event {
            TaskEvent::Greeting { protocol } if protocol == PROTOCOL => self.step_stats.greeted = true,
            TaskEvent::Greeting { protocol } => {
                return wrong(&format!("speaks {:?}, not {PROTOCOL:?}", short(&protocol)));
            }
            TaskEvent::Nonsense(problem) => {
                return wrong(&format!("says something that is no line of the protocol ({problem})"));
            }
            TaskEvent::Hello { version, ansible } => {
                self.step_stats.greeted = true;
                tracing::debug!(version, ansible, "the callback plug-in is there");
                if version != VERSION {
                    return Err(Code::RunnerFailed.because(format!(
                        "the callback plug-in has version {version}, this dispatcherd needs {VERSION}: set \
                         ansible.plugins in its config to the folder that came with it"
                    )));
                }
            }
            TaskEvent::Step {
                name,
                action,
                host,
                status,
                rescued,
                regardless,
                cut_off,
                item,
                duration_ms,
                message,
                diff,
            } => {
                // Before anything is cut off: the redactor finds whole secrets only.
                let message = message.map(|text| recorder.mask(&text));
                let at = cut_off.as_ref().map(|cut_off| cut_off.host.clone());
                match cut_off {
                    Some(cut_off) => self.step_stats.cut_off.push(cut_off),
                    None if status == StepStatus::Skipped => {}
                    None => drop(self.step_stats.reached.insert(host.clone())),
                }
                if item.is_none() {
                    self.step_stats.steps += 1;
                    let unreachable = (status == StepStatus::Unreachable).then(|| at.unwrap_or(host.clone()));
                    let said = message.clone().unwrap_or_default();
                    let failure =
                        StepFailure { host: host.clone(), step: name.clone(), message: said, unreachable };
                    self.step_stats.count(failure, status, rescued, regardless);
                }
                recorder.step(Step { task: 0, name, action, host, status, item, duration_ms, message, diff });
            }
            TaskEvent::Document { name, entity, value } => {
                match (name.parse::<DocumentName>(), about(entity)) {
                    (Ok(name), Ok(entity)) => recorder.document(name, entity, value),
                    (Err(error), _) => recorder.leave_out(&short(&name), &error.to_string()),
                    (Ok(name), Err(problem)) => recorder.leave_out(name.as_str(), &problem),
                }
            }
            TaskEvent::LeftOut { name, bytes } => {
                let problem = format!("its record would have {bytes} bytes, and may have {MAX_RECORD}");
                recorder.leave_out(&short(&name), &problem);
            }
            TaskEvent::Lost { problem } => {
                recorder.step(lost(&problem));
                self.step_stats.lost = Some(problem);
            }
            TaskEvent::Plan { hash, changes } => recorder.plan(hash, &changes),
            TaskEvent::Progress { percent, message } => {
                // In range by the clamp.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
                let percent = percent.clamp(0.0, 100.0) as u8;
                recorder.progress(Progress { task: 0, percent, message });
            }
            TaskEvent::Stats { hosts, plays, unmatched } => {
                self.step_stats.stats = true;
                self.step_stats.compare(&hosts);
                self.step_stats.unmatched = (plays > 0 && unmatched.len() == plays).then_some(unmatched);
            }
        }
        Ok(())
    }
}

/// A line of a plug-in runner.
fn of_plugin(line: &[u8]) -> Result<TaskEvent, String> {
    let line = Line::read(line).map_err(|error| error.to_string())?;
    match &line {
        Line::Step { diff: Some(value), .. } | Line::Plan { changes: value, .. }
            if levels(value) > DEEPEST =>
        {
            Err(format!("it has a value of more than {DEEPEST} levels"))
        }
        _ => Ok(line.into()),
    }
}

/// A line of the callback plug-in.
fn of_callback(line: &[u8]) -> Result<TaskEvent, String> {
    // Not what it says, which is not masked as long as nobody knows where its texts begin.
    serde_json::from_slice(line).map_err(|error| format!("a line of {} bytes: {error}", line.len()))
}

/// The step that stands in the place of what was lost.
fn lost(problem: &str) -> Step {
    Step {
        task: 0,
        name: "Something that Ansible said is missing here".to_owned(),
        action: String::new(),
        host: String::new(),
        status: StepStatus::Ignored,
        item: None,
        duration_ms: 0,
        message: Some(format!(
            "the runner can't read {problem}; what ansible-playbook prints is not affected"
        )),
        diff: None,
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_no_event_is_read_to_its_end_and_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events");
        let mut events = TaskEvents::listen(&path).unwrap();
        let mut plugin = UnixStream::connect(&path).await.unwrap();
        let hello = "{\"event\":\"hello\",\"version\":1,\"ansible\":\"2\"}\n";
        let lines =
            [&*"x".repeat(3 * LONGEST_LINE), "\n", hello, "{\"event\":\"step\",\"name\":NaN}\n", hello]
                .concat();
        let write = tokio::spawn(async move {
            plugin.write_all(lines.as_bytes()).await.unwrap();
        });
        let mut said = Vec::new();
        while let Some(event) = timeout(Duration::from_secs(60), events.next()).await.unwrap() {
            said.push(match event {
                TaskEvent::Lost { problem } => problem,
                TaskEvent::Hello { .. } => "hello".to_owned(),
                other => panic!("{other:?}"),
            });
        }
        write.await.unwrap();
        assert_eq!((said.len(), &*said[1], &*said[3]), (4, "hello", "hello"));
        assert!(
            said[0].contains("more than 2097152 bytes") && said[2].contains("line of 28 bytes"),
            "{said:?}"
        );
        // Nobody would read what others say.
        assert!(UnixStream::connect(&path).await.is_err());
    }
}
