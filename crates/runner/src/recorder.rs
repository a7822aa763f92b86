//! The account that a runner gives: every record goes through here, masked, into the transcript.

use std::collections::{HashMap, VecDeque};

use aegir_attempt::plan::PlannedTask;
use aegir_protocol::code::Code;
use aegir_protocol::limits::MAX_RECORD;
use aegir_protocol::name::{DocumentName, HostName, PlanHash, TaskName};
use aegir_protocol::operation::Entity;
use aegir_protocol::record::{Document, Output, Plan, Progress, Record, Step, Stream, TaskFinished};
use aegir_protocol::state::{Outcome, Reason};
use aegir_transcript::{WriteError, Writer};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::backpressure::Backpressure;
use super::output::Splitter;
use super::outputs::{CheckedOutput, OutputValue, Outputs};
use super::redactor::Redactor;
use super::stop::{Stop, Stopper};
use super::task_end::TaskEnd;

/// How many of the last bytes of a Task's standard error are kept for its reason.
const TAIL: usize = 2048;

/// The open transcript, and what must be known to write on.
#[derive(Debug)]
pub(super) struct Recorder {
    writer: Writer,
    redactor: Redactor,
    stopper: Stopper,
    /// Each stream of the Task that runs.
    streams: HashMap<(Option<HostName>, Stream), Splitter>,
    /// The number of that Task.
    task: u32,
    /// How many more bytes the attempt may print.
    left: u64,
    limit: u64,
    /// Whether it printed more; what comes after is left out.
    over: bool,
    /// The end of the Task's standard error, masked.
    tail: Vec<u8>,
    outputs: Outputs,
    backpressure: Backpressure,
    /// Records that the disk had no room for, in order. Nothing is read while there are any, so that they are what
    /// one read gave, and what the runner itself has to say.
    kept: VecDeque<Record>,
    /// Set by the first write that failed for good; nothing is written after it but the end.
    broken: Option<Reason>,
}

impl Recorder {
    /// An account in a new transcript, of at most `limit` bytes of output. What calls for the end of the
    /// Task (too much output, a disk that fails) goes to `stopper`.
    #[must_use]
    pub(super) fn new(
        writer: Writer,
        redactor: Redactor,
        outputs: Outputs,
        stopper: Stopper,
        limit: u64,
        backpressure: Backpressure,
    ) -> Self {
        Self {
            writer,
            redactor,
            outputs,
            stopper,
            streams: HashMap::new(),
            task: 0,
            left: limit,
            limit,
            over: false,
            tail: Vec::new(),
            backpressure,
            kept: VecDeque::new(),
            broken: None,
        }
    }

    /// From here on output and steps belong to this Task.
    pub(super) fn begin_task(&mut self, task: &PlannedTask) {
        self.task = task.number;
        self.streams.clear();
        self.tail.clear();
        self.outputs.begin_task(task);
    }

    /// What a child printed.
    pub(super) fn output(&mut self, host: Option<&HostName>, stream: Stream, bytes: &[u8]) {
        self.split(host, stream, |splitter, emit| splitter.push(bytes, emit));
    }

    /// A child's stream is at its end.
    pub(super) fn end_of_output(&mut self, host: Option<&HostName>, stream: Stream) {
        self.split(host, stream, |splitter, emit| splitter.finish(emit));
    }

    fn split(
        &mut self,
        host: Option<&HostName>,
        stream: Stream,
        give: impl FnOnce(
            &mut Splitter,
            &mut dyn FnMut(super::output::OutputPiece<'_>) -> Result<(), Full>,
        ) -> Result<(), Full>,
    ) {
        if self.broken.is_some() || self.over {
            return;
        }
        let key = (host.cloned(), stream);
        let mut splitter = self.streams.remove(&key).unwrap_or_else(|| Splitter::new(self.redactor.clone()));
        let task = self.task;
        let given = give(&mut splitter, &mut |piece| {
            let within =
                usize::try_from(self.left).map_or(piece.bytes.len(), |left| left.min(piece.bytes.len()));
            let bytes = &piece.bytes[..within];
            if !bytes.is_empty() {
                let output = Output::new(task, stream, key.0.clone(), piece.line, piece.continued, bytes);
                self.record(&Record::Output(output));
            }
            self.left -= within as u64;
            if stream == Stream::Stderr {
                self.tail.extend_from_slice(bytes);
                let old = self.tail.len().saturating_sub(TAIL);
                self.tail.drain(..old);
            }
            if within < piece.bytes.len() { Err(Full) } else { Ok(()) }
        });
        if given.is_err() {
            self.over = true;
            self.stopper.stop(Stop::OutputLimit { bytes: self.limit });
        }
        self.streams.insert(key, splitter);
    }

    /// One host's result of one step.
    pub(super) fn step(&mut self, mut step: Step) {
        step.task = self.task;
        step.name = self.redactor.mask_text(&step.name);
        step.item = step.item.map(|item| self.redactor.mask_text(&item));
        step.message = step.message.map(|message| self.redactor.mask_text(&message));
        step.diff = step.diff.map(|diff| self.redactor.mask_value(&diff));
        self.record(&Record::Step(step));
    }

    /// A whole value for the frontend, and for later Tasks.
    pub(super) fn document(&mut self, name: DocumentName, entity: Option<Entity>, value: Value) {
        if let Err(problem) = self.take_document(&name, entity, value) {
            self.leave_out(name.as_str(), &problem);
        }
    }

    fn take_document(
        &mut self,
        name: &DocumentName,
        entity: Option<Entity>,
        value: Value,
    ) -> Result<(), String> {
        // One that can't be taken is a secret all the same.
        if self.outputs.is_secret(name) {
            self.mask_texts(&value)?;
        }
        // A dry run has brought nothing about.
        if self.outputs.dry_run() {
            return Ok(());
        }
        let CheckedOutput { mut value, fresh_seconds, mut held } = self.outputs.fit(name, value)?;
        // What others read is what later Tasks get.
        if let OutputValue::Plain(plain) = &mut held {
            value = self.redactor.mask_value(&value);
            plain.clone_from(&value);
        }
        let sha256 = hex::encode(Sha256::digest(value.to_string()));
        let document = Document { task: self.task, name: name.clone(), entity, value, sha256, fresh_seconds };
        let record = Record::Document(document);
        let bytes = record.to_line(u64::MAX, Timestamp::MAX).len();
        if bytes > MAX_RECORD {
            // A part of it would be another one.
            return Err(format!("its record would have {bytes} bytes, and may have {MAX_RECORD}"));
        }
        self.record(&record);
        self.outputs.hold(name.clone(), held);
        Ok(())
    }

    /// Masks every text in a value from now on.
    fn mask_texts(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::String(text) => self.mask_from_now_on(text)?,
            Value::Array(items) => items.iter().try_for_each(|item| self.mask_texts(item))?,
            Value::Object(object) => object.values().try_for_each(|item| self.mask_texts(item))?,
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        Ok(())
    }

    /// Masks a text from now on.
    ///
    /// # Errors
    /// When it can't be masked.
    pub(super) fn mask_from_now_on(&mut self, secret: &str) -> Result<(), String> {
        self.redactor.add(secret).map_err(|error| format!("it can't be masked: {error}"))?;
        for stream in self.streams.values_mut() {
            stream.mask_with(&self.redactor);
        }
        Ok(())
    }

    /// A document that can't be taken. The Task fails for it at its end.
    pub(super) fn leave_out(&mut self, name: &str, problem: &str) {
        self.outputs.fault(name, problem);
    }

    /// What Tasks have handed over so far.
    pub(super) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The end of a Task, seen together with what it has handed over.
    pub(super) fn with_outputs(&mut self, task: &TaskName, end: TaskEnd) -> TaskEnd {
        match (self.outputs.problems(), end.outcome) {
            (None, Outcome::Succeeded) => {
                self.outputs.keep(task);
                end
            }
            (None, _) => end,
            (Some(problem), Outcome::Succeeded) => {
                TaskEnd { outcome: Outcome::Failed, reason: Code::OutputInvalid.because(problem), ..end }
            }
            // Whatever else ended it, of course it has not handed everything over.
            (Some(_), _) => end,
        }
    }

    /// What the Task would change.
    pub(super) fn plan(&mut self, hash: PlanHash, changes: &Value) {
        let changes = self.redactor.mask_value(changes);
        self.record(&Record::Plan(Plan { task: self.task, hash, changes }));
    }

    /// How far the Task is.
    pub(super) fn progress(&mut self, mut progress: Progress) {
        progress.task = self.task;
        progress.message = progress.message.map(|message| self.redactor.mask_text(&message));
        self.record(&Record::Progress(progress));
    }

    /// The Task is over.
    pub(super) fn task_finished(&mut self, mut finished: TaskFinished) {
        finished.reason = self.masked(finished.reason);
        self.record(&Record::TaskFinished(finished));
        self.streams.clear();
    }

    /// Any record that holds nothing of what a child said.
    pub(super) fn record(&mut self, record: &Record) {
        if self.broken.is_some() {
            return;
        }
        if !self.kept.is_empty() || self.write(record).is_err() {
            self.kept.push_back(record.clone());
        }
    }

    /// Writes a record, or finds out that none can be written any more.
    ///
    /// # Errors
    /// When there is no room for it now.
    fn write(&mut self, record: &Record) -> Result<(), WriteError> {
        match self.writer.append(record) {
            Ok(_) => {}
            // Nothing that a child or a role says can be that large any more.
            Err(error @ WriteError::TooLarge { .. }) => {
                tracing::warn!(%error, kind = record.kind(), "a record was left out");
            }
            Err(error) if error.is_transient() => {
                if self.kept.is_empty() {
                    tracing::warn!(
                        error = aegir_service::error::chain(&error),
                        "nothing is read of the children until there is room"
                    );
                }
                self.backpressure.disk_is_full(true);
                return Err(error);
            }
            Err(error) => {
                let reason = Code::RunnerFailed.because(aegir_service::error::chain(&error));
                self.broken = Some(reason.clone());
                self.stopper.stop(Stop::Broken(reason));
            }
        }
        Ok(())
    }

    /// Writes what was kept.
    ///
    /// # Errors
    /// When there is still no room for all of it.
    fn catch_up(&mut self) -> Result<(), WriteError> {
        while let Some(record) = self.kept.pop_front() {
            if self.broken.is_none()
                && let Err(error) = self.write(&record)
            {
                self.kept.push_front(record);
                return Err(error);
            }
        }
        self.backpressure.disk_is_full(false);
        Ok(())
    }

    /// Whether children may be read, and a Task may begin: nothing waits for room.
    pub(super) fn flows(&self) -> bool {
        self.kept.is_empty() && !self.backpressure.spool_full()
    }

    /// Looks again whether there is room. The caller waits for [`backpressure::LOOK_AGAIN`](super::backpressure::LOOK_AGAIN) before.
    pub(super) fn check_again(&mut self) {
        if !self.kept.is_empty() {
            // Until then it is kept.
            let _ = self.catch_up();
        }
    }

    /// Whether a Task may begin: nothing waits for room, and the disk has some.
    pub(super) fn may_start_task(&mut self) -> bool {
        self.check_again();
        if !self.kept.is_empty() {
            return false;
        }
        let backpressure = self.backpressure.disk_has_space();
        if !backpressure {
            self.start_blocked();
        }
        backpressure && !self.backpressure.spool_full()
    }

    /// The Task can't begin for want of room, here or where its secrets and sockets lie.
    pub(super) fn start_blocked(&mut self) {
        self.backpressure.disk_is_full(true);
    }

    /// A child of the Task runs: there was room.
    pub(super) fn child_runs(&mut self) {
        if self.kept.is_empty() {
            self.backpressure.disk_is_full(false);
        }
    }

    /// The end of what the Task printed as errors, for its reason; the last lines that fit in `most` bytes.
    #[must_use]
    pub(super) fn errors_end(&self, most: usize) -> String {
        let from = self.tail.len().saturating_sub(most);
        String::from_utf8_lossy(&self.tail[from..]).trim().to_owned()
    }

    /// A text without secrets.
    #[must_use]
    pub(super) fn mask(&self, text: &str) -> String {
        self.redactor.mask_text(text)
    }

    /// A reason without secrets.
    #[must_use]
    pub(super) fn masked(&self, reason: Reason) -> Reason {
        Reason { code: reason.code, message: self.redactor.mask_text(&reason.message) }
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&mut self) {
        // What is kept is synced by whoever ships it.
        if self.broken.is_none()
            && self.kept.is_empty()
            && let Err(error) = self.writer.sync()
        {
            self.broken = Some(Code::RunnerFailed.because(aegir_service::error::chain(&error)));
        }
    }

    /// Writes the last record.
    ///
    /// # Errors
    /// When it can't be written; it may be tried again.
    pub(super) fn finish(&mut self, outcome: Outcome, reason: Reason) -> Result<(), WriteError> {
        self.catch_up()?;
        let (outcome, reason) = match &self.broken {
            Some(broken) => (Outcome::Failed, broken.clone()),
            None => (outcome, self.masked(reason)),
        };
        let written = self.writer.finish(outcome, reason).map(|_| ());
        self.backpressure.disk_is_full(written.as_ref().is_err_and(WriteError::is_transient));
        written
    }
}

/// The attempt has printed all that it may.
struct Full;
