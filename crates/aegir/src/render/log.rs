//! A transcript for people, record by record.

mod shown_errors;

use std::collections::BTreeSet;

use aegir_api::{AttemptDetail, OperationSummary};
use aegir_protocol::record::{
    Document, Finished, Header, Output, Plan, Progress, Record, Remains, Started, Step, StepStatus, Stream,
    TaskFinished, TaskStarted,
};
use aegir_protocol::state::{Outcome, Reason, State};
use jiff::Timestamp;

use self::shown_errors::ShownErrors;
use super::operation::carry_out;
use super::{Look, bytes, capitalized, diff, duration, milliseconds, outcome_style, state_style, step_style};
use aegir_service::terminal::{clean, one_line};

/// How much of a text that is not shown is kept, in bytes, in case that it turns out to be needed.
const HELD: usize = 4096;

/// Which records are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only what belongs to this Task.
    pub task: Option<u32>,
    /// What ansible-playbook itself prints, too. It says once more what the steps say, so it is left out
    /// otherwise, unless a Task fails without a step that says why.
    pub all: bool,
}

/// Turns records into text, and remembers what it needs for that: constant space, however long the log is.
#[derive(Debug)]
pub struct Log {
    look: Look,
    wanted: Wanted,
    attempt: Option<u32>,
    /// The attempt that the Operation is at, as far as one knows.
    latest: u32,
    /// How many Tasks the attempt has.
    tasks: usize,
    started: Option<Timestamp>,
    task_started: Option<(u32, Timestamp)>,
    /// Whose line was left without a newline.
    open: Option<(u32, Stream, Option<String>)>,
    /// What a status line may say now.
    status: Option<String>,
    /// The Tasks that are known to be ansible-playbook's though their start was not among the records.
    ansible: BTreeSet<u32>,
    /// Which Task the fields below are about.
    task: Option<u32>,
    /// The end of what ansible-playbook printed in this Task and was not shown; `None` where nothing is held
    /// back.
    held: Option<String>,
    /// Whether that is not needed: a step says why the Task fails, or may have said so before the first record.
    explained: bool,
    /// What was said of what went wrong.
    shown_errors: ShownErrors,
    /// When the attempt ended, if its last record is here.
    ended: Option<Timestamp>,
    /// How it ended, until it is known whether the Operation has ended by that.
    unshown: Option<Finished>,
    /// Why its last Task failed; not shown yet.
    task_failure: Option<Reason>,
}

impl Log {
    /// A log for this look, of these records.
    #[must_use]
    pub fn new(look: Look, wanted: Wanted) -> Self {
        Self {
            look,
            wanted,
            attempt: None,
            latest: 0,
            tasks: 0,
            started: None,
            task_started: None,
            open: None,
            status: None,
            ansible: BTreeSet::new(),
            task: None,
            held: None,
            explained: false,
            shown_errors: ShownErrors::default(),
            ended: None,
            unshown: None,
            task_failure: None,
        }
    }

    /// Which Task of how many runs, for a status line.
    #[must_use]
    pub fn status(&self) -> Option<&str> {
        self.status.as_deref()
    }

    /// When the attempt started.
    #[must_use]
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// What is to be known where a transcript is read from its middle on: its first record, and which of its Tasks are
    /// ansible-playbook's.
    pub fn joins(&mut self, attempt: u32, first: &[u8], ansible: BTreeSet<u32>) {
        self.record(attempt, first);
        self.ansible = ansible;
    }

    /// The text of a record; empty for one that has nothing to show.
    pub fn record(&mut self, attempt: u32, line: &[u8]) -> String {
        let mut text = String::new();
        if self.attempt.is_some_and(|before| before != attempt) {
            text.push_str(&self.attempt_end());
            text.push_str(&self.close());
            let fresh = Self::new(self.look.clone(), self.wanted);
            *self = Self { latest: self.latest, ..fresh };
            text.push_str(&self.look.strong(&format!("Attempt {attempt}")));
            text.push('\n');
        }
        self.attempt = Some(attempt);
        let header = match Header::read(line) {
            Ok(header) => header,
            Err(error) => return format!("{text}{}\n", self.look.faint(&one_line(&error.to_string()))),
        };
        match header.record() {
            Ok(Some(record)) => text.push_str(&self.known(header.at, &record)),
            // A kind that a newer runner writes is named, so that nobody thinks that nothing happened.
            Ok(None) => {
                text.push_str(&self.note(&format!("({}: only a newer aegir shows this)", header.kind)));
            }
            Err(error) => text.push_str(&self.note(&error.to_string())),
        }
        text
    }

    /// The Operation is at this attempt: an earlier one that has ended was not its end.
    pub fn at(&mut self, attempt: u32) -> String {
        self.latest = attempt;
        if self.attempt.is_some_and(|shown| shown < attempt) { self.attempt_end() } else { String::new() }
    }

    /// How the attempt ended, if its last record is here and that was not said yet.
    pub fn attempt_end(&mut self) -> String {
        let Some(Finished { outcome, reason, .. }) = self.unshown.take() else { return String::new() };
        self.attempt_text(self.attempt.unwrap_or(1), outcome, Some(&reason))
    }

    /// How an attempt ended that a later one has followed.
    pub fn over(&mut self, attempt: &AttemptDetail) -> String {
        let Some(outcome) = attempt.outcome else { return self.close() };
        self.unshown = None;
        self.attempt_text(attempt.attempt.get(), outcome, attempt.reason.as_ref())
    }

    fn attempt_text(&mut self, attempt: u32, outcome: Outcome, why: Option<&Reason>) -> String {
        let end = format!("Attempt {attempt} {}", self.look.paint(outcome_style(outcome), outcome.as_str()));
        self.end_text(&end, outcome.into(), why)
    }

    /// How the Operation ended.
    pub fn end(&mut self, summary: &OperationSummary) -> String {
        let number = summary.attempt.get();
        let mut text = self.at(number);
        if self.attempt.is_some_and(|shown| shown < number) {
            (self.started, self.ended) = (None, None);
        }
        self.unshown = None;
        let state = self.look.paint(state_style(summary.state), &capitalized(summary.state.as_str()));
        let end = match number {
            1 => state,
            number => format!("{state} at attempt {number}"),
        };
        text.push_str(&self.end_text(&end, summary.state, summary.reason.as_ref()));
        if summary.is_dry_run() && summary.state == State::Succeeded {
            text.push_str(&format!("{}\n", carry_out(summary.id)));
        }
        text
    }

    fn end_text(&mut self, end: &str, state: State, why: Option<&Reason>) -> String {
        self.status = None;
        let mut text = self.close();
        // The reason of a Task is that of its attempt, unless the attempt has ended otherwise.
        if let Some(reason) = self.task_failure.take().filter(|_| self.ended.is_none()) {
            text.push_str(&format!("The Task failed{}\n", self.shown_errors.reason(&reason)));
        }
        text.push_str(if self.attempt.is_some() { "\n" } else { "" });
        text.push_str(end);
        if let (Some(from), Some(to)) = (self.started, self.ended) {
            text.push_str(&format!(" after {}", duration(milliseconds(from, to))));
        }
        text.push_str(&match why {
            None => String::new(),
            Some(why) if state == State::Succeeded => remarks(why),
            Some(why) => self.shown_errors.reason(why),
        });
        text.push('\n');
        if self.started.is_some() && self.ended.is_none() {
            text.push_str("The transcript is incomplete: it ends here without its last record.\n");
        }
        text
    }

    fn known(&mut self, at: Timestamp, record: &Record) -> String {
        if let (Some(only), Some(task)) = (self.wanted.task, task_of(record))
            && only != task
        {
            return String::new();
        }
        if let Some(task) = task_of(record) {
            self.enter(task);
        }
        match record {
            Record::Output(output) => self.output(output),
            Record::Started(started) => self.started_text(at, started),
            Record::TaskStarted(task) => self.task_started_text(at, task),
            Record::Step(step) => self.step(step),
            Record::Document(document) => self.document(document),
            Record::Plan(plan) => self.plan(plan),
            Record::Progress(progress) => self.progress(progress),
            Record::TaskFinished(task) => self.task_finished(at, task),
            Record::Finished(finished) => self.finished(at, finished),
        }
    }

    /// A record of this Task comes. Where its start was not seen, what its steps have said before is not known either.
    fn enter(&mut self, task: u32) {
        if self.task != Some(task) {
            self.task = Some(task);
            self.held = (self.ansible.contains(&task) && !self.wanted.all).then(String::new);
            self.explained = true;
            self.shown_errors.task();
        }
    }

    fn started_text(&mut self, at: Timestamp, started: &Started) -> String {
        self.tasks = started.tasks.len();
        self.started = Some(at);
        let kind = if started.is_dry_run() { " (dry run: changes nothing)" } else { "" };
        let tasks = match self.tasks {
            0 => "nothing to do".to_owned(),
            1 => "one Task".to_owned(),
            number => format!("{number} Tasks"),
        };
        let done = match started.tasks.iter().filter(|task| task.done_in.is_some()).count() {
            0 => String::new(),
            done => format!(", {done} already done"),
        };
        let text = format!(
            "{} of {} {} on node {}: {tasks}{done}{kind}",
            started.name, started.target.kind, started.target.name, started.node
        );
        format!("{}{}\n", self.close(), self.look.strong(&text))
    }

    fn of_tasks(&self, task: u32) -> String {
        if self.tasks == 0 { format!("Task {task}") } else { format!("Task {task} of {}", self.tasks) }
    }

    fn task_started_text(&mut self, at: Timestamp, task: &TaskStarted) -> String {
        self.task_started = Some((task.task, at));
        self.held = (task.runner == "ansible" && !self.wanted.all).then(String::new);
        self.explained = false;
        let title = format!("{}: {}", self.of_tasks(task.task), one_line(&task.title));
        let hosts: Vec<_> = task.hosts.iter().map(|host| host.as_str()).collect();
        let on = if hosts.is_empty() {
            "beside dispatcherd".to_owned()
        } else {
            format!("on {}", hosts.join(", "))
        };
        let detail = self.look.faint(&format!("({}, {on})", task.runner));
        self.status = Some(title.clone());
        format!("{}\n{} {detail}\n", self.close(), self.look.strong(&title))
    }

    fn output(&mut self, output: &Output) -> String {
        let source = (output.task, output.stream, output.host.as_ref().map(|host| host.as_str().to_owned()));
        let goes_on = output.continued && self.open.as_ref() == Some(&source);
        let mut text = if goes_on { String::new() } else { self.close() };
        let bytes = match output.bytes() {
            Ok(bytes) => bytes,
            Err(error) => return text + &self.note(&error.to_string()),
        };
        let cleaned = clean(&String::from_utf8_lossy(&bytes), self.look.colour);
        if let Some(held) = &mut self.held
            && output.stream == Stream::Stdout
            && output.host.is_none()
        {
            if !self.explained {
                hold(held, &cleaned);
            }
            return text;
        }
        let prefix = match (&source.2, output.stream) {
            (Some(host), Stream::Stdout) => self.look.faint(&format!("  {host} | ")),
            (Some(host), Stream::Stderr) => self.look.faint(&format!("  {host} ! ")),
            (None, Stream::Stdout) => "  ".to_owned(),
            (None, Stream::Stderr) => self.look.faint("! "),
        };
        for (index, line) in cleaned.split_inclusive('\n').enumerate() {
            if index > 0 || !goes_on {
                text.push_str(&prefix);
            }
            text.push_str(line);
        }
        let is_open = if cleaned.is_empty() { goes_on } else { !cleaned.ends_with('\n') };
        self.open = is_open.then_some(source);
        text
    }

    fn step(&mut self, step: &Step) -> String {
        let mut text = self.close();
        let status = self.look.paint(step_style(step.status), &format!("{:<11}", step_word(step.status)));
        let host = one_line(&step.host);
        // A plug-in may do what is on no minion.
        let host = if host.is_empty() { host } else { format!("{host}  ") };
        let mut line = format!("  {status} {host}{}", one_line(&step.name));
        if let Some(item) = &step.item {
            line.push_str(&format!(" [{}]", one_line(item)));
        }
        line.push_str(&self.look.faint(&format!("  {}", duration(step.duration_ms))));
        text.push_str(&line);
        text.push('\n');
        let failed = matches!(step.status, StepStatus::Failed | StepStatus::Unreachable);
        if failed {
            // ansible-playbook's own text is not needed for that, nor its sums, which come later.
            self.explained = true;
        }
        // `debug` is there to say something.
        let speaks = step.action.rsplit('.').next() == Some("debug");
        let says = match step.status {
            StepStatus::Failed | StepStatus::Ignored | StepStatus::Unreachable => step.message.as_deref(),
            StepStatus::Ok | StepStatus::Changed => step.message.as_deref().filter(|_| speaks),
            StepStatus::Skipped => None,
        };
        if failed && says.is_some_and(|says| !says.trim().is_empty()) {
            self.shown_errors.step(step);
        }
        for line in says.unwrap_or_default().lines().filter(|line| !line.trim().is_empty()) {
            text.push_str(&format!("      {}\n", clean(line, false)));
        }
        for line in step.diff.iter().flat_map(diff::lines) {
            text.push_str(&format!("      {}\n", clean(&line, false).replace('\n', " ")));
        }
        text
    }

    fn document(&mut self, document: &Document) -> String {
        let size = serde_json::to_vec(&document.value).map_or(0, |text| text.len() as u64);
        let text = format!("document {} ({})", document.name, bytes(size));
        self.note(&text)
    }

    fn plan(&mut self, plan: &Plan) -> String {
        let mut text = self.note(&format!("plan {}", plan.hash));
        let changes = serde_json::to_string_pretty(&plan.changes).unwrap_or_default();
        for line in changes.lines().filter(|_| !plan.changes.is_null()) {
            text.push_str(&format!("      {}\n", clean(line, false)));
        }
        text
    }

    fn progress(&mut self, progress: &Progress) -> String {
        let message = progress.message.as_deref().map(one_line).unwrap_or_default();
        let text = format!("{} % {message}", progress.percent).trim_end().to_owned();
        self.status = Some(format!("{} · {text}", self.of_tasks(progress.task)));
        self.note(&text)
    }

    fn task_finished(&mut self, at: Timestamp, task: &TaskFinished) -> String {
        let mut text = self.close();
        if let Some(held) = self.held.take()
            && task.outcome != Outcome::Succeeded
            && !self.explained
        {
            for line in held.lines().filter(|line| !line.trim().is_empty()) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        let outcome = self.look.paint(outcome_style(task.outcome), task.outcome.as_str());
        text.push_str(&format!("{} {outcome}", self.of_tasks(task.task)));
        match self.task_started.take() {
            Some((number, from)) if number == task.task => {
                text.push_str(&format!(" after {}", duration(milliseconds(from, at))));
            }
            Some(_) | None => {}
        }
        if task.outcome != Outcome::Succeeded {
            self.task_failure = Some(task.reason.clone());
            match (task.exit.code, task.exit.signal) {
                (Some(code), _) => text.push_str(&format!("; exit code {code}")),
                (None, Some(signal)) => text.push_str(&format!("; ended by signal {signal}")),
                (None, None) => {}
            }
        }
        text.push('\n');
        text.push_str(&remains("beside dispatcherd", task.local));
        text.push_str(&remains("on the minions", task.remote));
        self.status = None;
        text
    }

    /// The end of an attempt may be that of the Operation: whoever knows calls [`Self::at`] or [`Self::end`].
    fn finished(&mut self, at: Timestamp, finished: &Finished) -> String {
        self.status = None;
        self.ended = Some(at);
        self.unshown = Some(finished.clone());
        self.at(self.latest)
    }

    /// A line of its own that is not a child's.
    fn note(&mut self, text: &str) -> String {
        format!("{}  {}\n", self.close(), self.look.faint(&one_line(text)))
    }

    /// Ends a child's line that was left open, so that the next text starts at the left.
    pub fn close(&mut self) -> String {
        if self.open.take().is_some() { "\n".to_owned() } else { String::new() }
    }
}

/// Adds to what is held back, and keeps the end of it: whole lines.
fn hold(held: &mut String, text: &str) {
    held.push_str(text);
    if held.len() > HELD {
        let from = held.ceil_char_boundary(held.len() - HELD);
        let from = held[from..].find('\n').map_or(from, |newline| from + newline + 1);
        held.drain(..from);
    }
}

fn task_of(record: &Record) -> Option<u32> {
    match record {
        Record::Started(_) | Record::Finished(_) => None,
        Record::TaskStarted(task) => Some(task.task),
        Record::Output(output) => Some(output.task),
        Record::Step(step) => Some(step.task),
        Record::Document(document) => Some(document.task),
        Record::Plan(plan) => Some(plan.task),
        Record::Progress(progress) => Some(progress.task),
        Record::TaskFinished(task) => Some(task.task),
    }
}

fn step_word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Ok => "ok",
        StepStatus::Changed => "changed",
        StepStatus::Failed => "FAILED",
        StepStatus::Ignored => "ignored",
        StepStatus::Skipped => "skipped",
        StepStatus::Unreachable => "UNREACHABLE",
    }
}

/// What the reason of a success adds to `every Task did what it should`.
fn remarks(reason: &Reason) -> String {
    let remarks = reason.message.split_once("; ").map(|(_, remarks)| format!("; {}", clean(remarks, false)));
    remarks.unwrap_or_default()
}

fn remains(place: &str, remains: Remains) -> String {
    match remains {
        Remains::Gone => String::new(),
        Remains::Left => format!("  A process that it started {place} still runs.\n"),
        Remains::Unknown => {
            format!("  It is not known whether processes that it started {place} still run.\n")
        }
    }
}

#[cfg(test)]
mod tests;
