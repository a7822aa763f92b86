//! One attempt, from its first record to its last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::LeaseFile;
use aegir_attempt::plan::{PLAN_SCHEMA, PlannedTask, TaskAction, TaskPlan};
use aegir_attempt::private::PrivateDirectory;
use aegir_protocol::code::Code;
use aegir_protocol::message::{self, DecodeError};
use aegir_protocol::name::HostName;
use aegir_protocol::operation::Operation;
use aegir_protocol::record::{ChildExit, Record, Started, TaskFinished, TaskStarted, TaskTitle};
use aegir_protocol::state::{Outcome, Reason};
use aegir_service::io_error::is_transient;
use aegir_transcript::{FileWatcher, WatchError, WriteError, Writer};
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::backpressure::{self, Backpressure, LOOK_AGAIN, watch_spool};
use super::outputs::Outputs;
use super::plugin::PluginRun;
use super::recorder::Recorder;
use super::redactor::Redactor;
use super::stop::{Stop, Stopper, Stops, canceled, stops, watch_for_cancel, watch_lease};
use super::task_end::TaskEnd;
use super::work::{AttemptContext, remove};
use super::{ansible, shell};
use crate::secrets::{Secrets, UnsealError};

/// How often, and after how long, the last record is tried again when the disk fails. For room it waits without end.
const FINISH_AGAIN: [u64; 5] = [1, 2, 5, 10, 20];

/// How long at most a Task that waits for room is not tried.
const TRY_AT_LEAST_EVERY: Duration = Duration::from_secs(10);

/// How often the lock is asked for, and how long between: whoever looks whether a runner has it holds it for a moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// How long after SIGTERM to everything a Task has its end: its processes' grace, and a look at its minions (30 s). A
/// plug-in may have a longer grace.
const ALL_END_WITHIN: Duration = Duration::from_secs(45);
/// How much later than a child's end the runner's own signal may be noticed.
const SIGNAL_IS_HERE: Duration = Duration::from_millis(100);

/// Why nothing was begun. Said on standard error; dispatcherd finds the lock free and no transcript.
#[derive(Debug, thiserror::Error)]
enum BeginError {
    /// The lock file.
    #[error("can't lock {path}")]
    Lock { path: PathBuf, source: io::Error },
    /// Another runner.
    #[error("another runner has {path}")]
    Taken {
        /// The attempt's directory.
        path: PathBuf,
    },
    /// `operation.json` or `plan.json`.
    #[error("can't read {path}")]
    Read { path: PathBuf, source: io::Error },
    /// `operation.json` is not an Operation.
    #[error("{path} is not an Operation")]
    Operation { path: PathBuf, source: DecodeError },
    /// `plan.json` is not a plan.
    #[error("{path} is not a plan of this version: {reason}")]
    Plan { path: PathBuf, reason: String },
    /// The transcript.
    #[error(transparent)]
    Transcript(#[from] WriteError),
    /// The runtime or its signals.
    #[error("can't set up the runner")]
    Setup(#[from] io::Error),
    /// Watching for `cancel.json`.
    #[error(transparent)]
    Watch(#[from] WatchError),
}

/// The whole of `dispatcherd runner DIR`: carries out the attempt in this directory and nothing else.
///
/// The exit code is 0 when the transcript has its `finished` record, whatever that says.
#[must_use]
pub fn main(directory: PathBuf) -> ExitCode {
    // To standard error, which dispatcherd keeps beside the transcript.
    if let Err(error) = aegir_service::logging::init("warn") {
        say(&error);
    }
    // One thread, and the drivers looked at after every turn: what a child prints must not delay a timer.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(AttemptDirectory::at(directory))),
        Err(error) => Err(BeginError::Setup(error)),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

/// On standard error, which may be a file on a full disk: that must not end the runner, as `eprintln!` would.
fn say(error: &dyn std::error::Error) {
    let _ = writeln!(io::stderr(), "dispatcherd runner: {}", aegir_service::error::chain(error));
}

/// Signals that reach the runner are most often meant for dispatcherd, and do not end it. They are caught, not
/// ignored: a caught signal is back to its default in a child. What they tell is for [`Terminated`].
fn deaf() -> io::Result<(Vec<Signal>, Terminated)> {
    let deaf =
        [SignalKind::interrupt(), SignalKind::hangup()].into_iter().map(signal).collect::<Result<_, _>>()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let (says, terminated) = watch::channel(None);
    tokio::spawn(async move {
        while terminate.recv().await.is_some() {
            says.send_replace(Some(Instant::now()));
        }
    });
    Ok((deaf, Terminated(terminated)))
}

/// When the runner was last sent SIGTERM.
struct Terminated(watch::Receiver<Option<Instant>>);

impl Terminated {
    /// Whether what a Task ended with just now is the work of whoever ends every process: a machine that is shut
    /// down sends SIGTERM to all of them, and the end of ansible-playbook or ssh says nothing of the Task then.
    async fn with_all_others(&mut self, task: &PlannedTask) -> bool {
        let grace = match &task.action {
            TaskAction::Plugin { config, .. } => Duration::from_secs(config.grace_seconds),
            TaskAction::TaskFile(_) | TaskAction::Playbook(_) | TaskAction::Program { .. } => Duration::ZERO,
        };
        let lately = |at: &Option<Instant>| at.is_some_and(|at| at.elapsed() < ALL_END_WITHIN + grace);
        timeout(SIGNAL_IS_HERE, self.0.wait_for(lately)).await.is_ok_and(|found| found.is_ok())
    }
}

async fn carry_out(directory: AttemptDirectory) -> Result<bool, BeginError> {
    let (_deaf, terminated) = deaf()?;
    let _lock = lock(&directory).await?;
    let operation = read_operation(&directory)?;
    let plan = read_plan(&directory)?;
    let (says, spool_full) = watch::channel(backpressure::held(&directory.hold()));
    let (stopper, stops) = stops(operation.timeout_seconds);
    // One that was called off before this begins no Task; whoever watches for it would see it too late.
    if let Some(stop) = canceled(&directory.cancel()) {
        stopper.stop(stop);
    }
    let watcher = FileWatcher::new()?;
    let changes = || watcher.watch_directory(directory.path());
    let cancel = tokio::spawn(watch_for_cancel(directory.cancel(), changes()?, stopper.clone()));
    let spool = tokio::spawn(watch_spool(directory.hold(), changes()?, says));
    // What has no lease may go on for ever.
    let lease = || LeaseFile::new(directory.lease());
    let lease = operation.lease_seconds.map(|_| tokio::spawn(watch_lease(lease(), stopper.clone())));
    let attempt = AttemptRun { operation: &operation, plan: &plan, directory: &directory };
    let mut backpressure = Backpressure::new(directory.clone(), spool_full);
    // Its time runs, and it can be called off, while there is no room for its first record.
    let writer = create(&directory.transcript(), &mut backpressure).await?;
    let finished = attempt.carry_out(writer, backpressure, stopper, stops, terminated).await;
    cancel.abort();
    spool.abort();
    lease.inspect(JoinHandle::abort);
    Ok(finished)
}

async fn lock(directory: &AttemptDirectory) -> Result<File, BeginError> {
    let path = directory.lock();
    let failed = |source| BeginError::Lock { path: path.clone(), source };
    let options = OpenOptions::new().create(true).truncate(false).write(true).mode(0o640).open(&path);
    let file = options.map_err(failed)?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(errno) => return Err(failed(errno.into())),
        }
    }
    Err(BeginError::Taken { path: directory.path().to_owned() })
}

/// Makes the transcript, as soon as the disk has room for it.
async fn create(path: &Path, backpressure: &mut Backpressure) -> Result<Writer, WriteError> {
    loop {
        match Writer::create(path) {
            Err(WriteError::Create { source, .. }) if is_transient(&source) => {
                backpressure.disk_is_full(true);
            }
            created => return created,
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BeginError> {
    std::fs::read(path).map_err(|source| BeginError::Read { path: path.to_owned(), source })
}

fn read_operation(directory: &AttemptDirectory) -> Result<Operation, BeginError> {
    let path = directory.operation();
    message::decode(&read(&path)?).map_err(|source| BeginError::Operation { path, source })
}

fn read_plan(directory: &AttemptDirectory) -> Result<TaskPlan, BeginError> {
    let path = directory.plan();
    let plan: TaskPlan = serde_json::from_slice(&read(&path)?)
        .map_err(|error| BeginError::Plan { path: path.clone(), reason: error.to_string() })?;
    if plan.schema == PLAN_SCHEMA {
        Ok(plan)
    } else {
        Err(BeginError::Plan { path, reason: format!("its schema is {:?}", plan.schema) })
    }
}

struct AttemptRun<'a> {
    operation: &'a Operation,
    plan: &'a TaskPlan,
    directory: &'a AttemptDirectory,
}

impl AttemptRun<'_> {
    /// Whether the last record was written.
    async fn carry_out(
        &self,
        writer: Writer,
        backpressure: Backpressure,
        stopper: Stopper,
        stops: Stops,
        terminated: Terminated,
    ) -> bool {
        let limit = self.plan.settings.output_limit_bytes;
        let opened = self.open();
        let (redactor, outputs) = match &opened {
            Ok((_, secrets, redactor)) => {
                (redactor.clone(), Outputs::new(self.plan, secrets, self.operation.is_dry_run()))
            }
            Err(_) => (
                Redactor::default(),
                Outputs::new(self.plan, &Secrets::default(), self.operation.is_dry_run()),
            ),
        };
        let mut recorder = Recorder::new(writer, redactor, outputs, stopper, limit, backpressure);
        recorder.record(&Record::Started(self.started()));
        // relayd shows "running" from here on, and a second runner must find this one's transcript.
        recorder.sync();
        let (mut recorder, end) = match &opened {
            Ok((private, secrets, _)) => {
                let work = AttemptContext {
                    operation: self.operation,
                    plan: self.plan,
                    directory: self.directory,
                    private,
                    secrets,
                    recorder: RefCell::new(recorder),
                    stops,
                    answered: RefCell::new(BTreeMap::new()),
                };
                let end = self.tasks(&work, terminated).await;
                (work.recorder.into_inner(), end)
            }
            Err(error) => (recorder, Some((Outcome::Failed, error.reason()))),
        };
        // Before the last record, so that whoever sees that finds no secret any more.
        drop(opened);
        let Some((outcome, reason)) = end else {
            recorder.sync();
            return false;
        };
        if let Err(error) = remove(&self.directory.path().join("tasks")) {
            tracing::warn!(%error, "what the Tasks ran with can't be removed");
        }
        finish(recorder, outcome, reason).await
    }

    fn open(&self) -> Result<(PrivateDirectory, Secrets, Redactor), UnsealError> {
        let settings = &self.plan.settings;
        let secrets = Secrets::open(&self.plan.tasks, &settings.age_identity_file)?;
        let redactor = Redactor::new(secrets.texts()).map_err(|error| UnsealError::Identity {
            path: settings.age_identity_file.clone(),
            reason: format!("the secrets can't be masked: {error}"),
        })?;
        let private = PrivateDirectory::new(&settings.runtime_directory, self.operation.attempt_id())?;
        Ok((private, secrets, redactor))
    }

    fn started(&self) -> Started {
        let title = |task: &PlannedTask| TaskTitle {
            role: task.role.clone(),
            name: task.name.clone(),
            title: task.title.clone(),
            done_in: task.done.as_ref().map(|done| done.attempt),
        };
        Started {
            operation: self.operation.id,
            attempt: self.operation.attempt,
            name: self.operation.name.clone(),
            target: self.operation.target.clone(),
            node: self.plan.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dry_run: self.operation.is_dry_run(),
            check: self.operation.is_dry_run(),
            digest: self.plan.tasks.first().map(|task| task.digest.clone()),
            tasks: self.plan.tasks.iter().map(title).collect(),
        }
    }

    /// How they went; nothing when that can't be told, because every process was ended. The transcript has no end
    /// then, and dispatcherd's next start looks after what is left on the minions.
    async fn tasks(
        &self,
        work: &AttemptContext<'_>,
        mut terminated: Terminated,
    ) -> Option<(Outcome, Reason)> {
        let mut notes = String::new();
        for task in self.plan.tasks.iter().filter(|task| task.done.is_none()) {
            // One that was called off, or whose time is over, between two Tasks does not begin the next.
            let lease_over = || {
                let leased = self.operation.lease_seconds.is_some();
                let over = leased && LeaseFile::new(self.directory.lease()).left().is_zero();
                over.then_some(Stop::LeaseOver)
            };
            if let Some(stop) = work.stops.now().or_else(lease_over) {
                return Some((stop.outcome(), stop.reason()));
            }
            if let Err(stop) = may_start_task(work, &work.stops).await {
                return Some((stop.outcome(), stop.reason()));
            }
            {
                let mut recorder = work.recorder.borrow_mut();
                recorder.begin_task(task);
                recorder.record(&Record::TaskStarted(TaskStarted {
                    task: task.number,
                    role: task.role.clone(),
                    name: task.name.clone(),
                    title: task.title.clone(),
                    runner: task.action.runner().to_owned(),
                    hosts: task.hosts.clone(),
                }));
            }
            let end = run_task(work, task).await;
            let end = work.recorder.borrow_mut().with_outputs(&task.name, end);
            notes.extend(end.note().map(|note| format!("; task {}: {note}", task.name)));
            let TaskEnd { outcome, reason, exit, local, remote } = end;
            // Other codes are of what nobody can end by a signal: a time limit, a program that is not there.
            let by_signal = [Code::TaskFailed, Code::MinionUnreachable].map(Code::as_str);
            if by_signal.contains(&reason.code.as_str()) && terminated.with_all_others(task).await {
                tracing::error!(task = %task.name, "SIGTERM to the runner and its Task: is the machine shut down?");
                return None;
            }
            work.recorder.borrow_mut().task_finished(TaskFinished {
                task: task.number,
                outcome,
                reason: reason.clone(),
                exit,
                local,
                remote,
            });
            if let Err(error) = remove(&self.directory.task(task.number, task.name.as_str())) {
                tracing::warn!(%error, "what the Task ran with can't be removed");
            }
            if outcome != Outcome::Succeeded {
                return Some((outcome, of_attempt(task, reason)));
            }
        }
        Some(match work.stops.now() {
            // It came too late to change anything, unless it is that nothing can be recorded any more.
            Some(Stop::Broken(reason)) => (Outcome::Failed, reason),
            Some(_) | None => {
                (Outcome::Succeeded, Code::Completed.because(format!("every Task did what it should{notes}")))
            }
        })
    }
}

/// The reason of an attempt that this Task has ended: `in "Fetch the codebase" on web1: …`.
fn of_attempt(task: &PlannedTask, reason: Reason) -> Reason {
    let on_host = |host: &HostName| {
        let message = reason.message.strip_prefix(host.as_str())?.strip_prefix(": ")?;
        Some(format!("in \"{}\" on {host}: {message}", task.title))
    };
    let message = task.hosts.iter().find_map(on_host);
    let message = message.unwrap_or_else(|| format!("in \"{}\": {}", task.title, reason.message));
    Reason { message, ..reason }
}

/// Carries a Task out. One of which nothing was started for want of room is tried again until there is some, or its
/// time is over. A try may log in to minions, so it comes less and less often.
async fn run_task(work: &AttemptContext<'_>, task: &PlannedTask) -> TaskEnd {
    let stops = work.stops_of(task);
    let mut pause = LOOK_AGAIN;
    loop {
        let end = match &task.action {
            TaskAction::TaskFile(_) | TaskAction::Playbook(_) => ansible::run(work, task).await,
            TaskAction::Program { argv, on } => shell::run(work, task, argv, *on).await,
            TaskAction::Plugin { config, verb, settings, .. } => {
                PluginRun { work, task, config, verb: *verb, settings }.run().await
            }
        };
        // What has begun may say that a disk is full, too: one of its own.
        if end.reason.code != Code::DiskFull.as_str() || end.exit != ChildExit::default() {
            return end;
        }
        tracing::warn!(task = %task.name, error = end.reason.message, "a Task waits for room");
        work.recorder.borrow_mut().start_blocked();
        let backpressure = async {
            stops.clone().unless(tokio::time::sleep(pause)).await?;
            may_start_task(work, &stops).await
        };
        if let Err(stop) = backpressure.await {
            return TaskEnd::stopped_before(&stop);
        }
        pause = (pause * 2).min(TRY_AT_LEAST_EVERY);
    }
}

/// Waits until there is room for what a Task writes and prints.
///
/// # Errors
/// What stops the attempt before that.
async fn may_start_task(work: &AttemptContext<'_>, stops: &Stops) -> Result<(), Stop> {
    while !work.recorder.borrow_mut().may_start_task() {
        stops.clone().unless(tokio::time::sleep(LOOK_AGAIN)).await?;
    }
    Ok(())
}

async fn finish(mut recorder: Recorder, outcome: Outcome, reason: Reason) -> bool {
    let mut pauses = FINISH_AGAIN.into_iter();
    loop {
        let error = match recorder.finish(outcome, reason.clone()) {
            Ok(()) => return true,
            Err(error) => error,
        };
        let pause = if error.is_transient() {
            LOOK_AGAIN
        } else {
            tracing::warn!(error = aegir_service::error::chain(&error), "the last record can't be written");
            let Some(seconds) = pauses.next() else { return false };
            Duration::from_secs(seconds)
        };
        tokio::time::sleep(pause).await;
    }
}
