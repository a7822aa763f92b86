//! The `shell` runner: a program and its arguments, which no shell reads.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io;

use aegir_attempt::plan::PlannedTask;
use aegir_attempt::private::write_private;
use aegir_catalog::manifest::{Argument, OutputManifest, RunsOn};
use aegir_minions::{Minion, RemoteProgram, RemoteStart, RemoteStream, StopSignal};
use aegir_protocol::code::Code;
use aegir_protocol::name::{DocumentName, HostName, TaskName};
use aegir_protocol::operation::sealed;
use aegir_protocol::record::{ChildExit, Remains, Step, StepStatus};
use aegir_protocol::state::{Outcome, Reason};
use futures_util::future::join_all;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::child::{Child, Cleanup, Ended, run_child};
use super::outputs::OutputValue;
use super::process::{ChildSpec, LocalChild, SpawnError};
use super::recorder::Recorder;
use super::stop::Stops;
use super::task_end::{TaskEnd, worst};
use super::work::AttemptContext;

/// The environment variable that names the directory where a program finds the secrets of its Task, each in a file of the
/// variable's name.
const SECRETS: &str = "AEGIR_SECRETS";

/// Carries a Task out.
pub(super) async fn run(
    work: &AttemptContext<'_>,
    task: &PlannedTask,
    argv: &[Argument],
    on: RunsOn,
) -> TaskEnd {
    let argv = match words(work, task, argv) {
        Ok(argv) => argv,
        Err(reason) => return TaskEnd::not_started(reason),
    };
    if work.operation.is_dry_run() {
        return not_run(work, &argv);
    }
    match on {
        RunsOn::Dispatcher => beside(work, task, argv).await,
        RunsOn::Minions => on_minions(work, task, argv).await,
    }
}

/// The command line. A value is one word, whatever it holds; one that is optional and not there is an empty word.
fn words(work: &AttemptContext<'_>, task: &PlannedTask, argv: &[Argument]) -> Result<Vec<String>, Reason> {
    argv.iter()
        .map(|argument| match argument {
            Argument::Text(text) => Ok(text.clone()),
            Argument::Variable(name) => match task.variables.get(name) {
                Some(resolved) if sealed(&resolved.value).is_some() => {
                    Err(Code::NotAllowed.because(format!(
                        "task {} has the secret {name} among its arguments, where everybody on the host can \
                     read it: take it from argv, and let the program read the file {name} in ${SECRETS}",
                        task.name
                    )))
                }
                resolved => Ok(resolved.map(|resolved| word(&resolved.value)).unwrap_or_default()),
            },
            Argument::Output(of, document) => {
                let recorder = work.recorder.borrow();
                match recorder.outputs().by_task().get(of).and_then(|outputs| outputs.get(document)) {
                    // Its manifest would have been left out.
                    Some(OutputValue::Secret(_)) => {
                        Err(Code::NotAllowed.because(format!("{of}.{document} is a secret")))
                    }
                    Some(OutputValue::Plain(value)) => Ok(word(value)),
                    // In a dry run nothing is handed over.
                    None if work.operation.is_dry_run() => Ok(format!("{{{of}.{document}}}")),
                    None if is_optional(work, of, document) => Ok(String::new()),
                    None => Err(Code::OutputInvalid.because(format!(
                        "task {} needs {document} of task {of}, which has not handed it over",
                        task.name
                    ))),
                }
            }
        })
        .map(|word| match word {
            Ok(word) if word.contains('\0') => Err(Code::VariableInvalid.because(format!(
                "task {} has an argument with a NUL character, which no program can be given",
                task.name
            ))),
            other => other,
        })
        .collect()
}

fn is_optional(work: &AttemptContext<'_>, of: &TaskName, document: &DocumentName) -> bool {
    let task = work.plan.tasks.iter().find(|task| task.name == *of);
    task.and_then(|task| task.outputs.get(document)).is_some_and(OutputManifest::optional)
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A dry run changes nothing, and what a program would change nobody knows.
fn not_run(work: &AttemptContext<'_>, argv: &[String]) -> TaskEnd {
    let plain = |word: &&String| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_=./:@+,{}".contains(c))
    };
    let words = argv.iter().map(|word| if plain(&word) { word.clone() } else { format!("{word:?}") });
    let name = format!("Would run {}", words.collect::<Vec<_>>().join(" "));
    let (status, action) = (StepStatus::Changed, "shell".to_owned());
    let step = Step {
        task: 0,
        name,
        action,
        host: String::new(),
        status,
        item: None,
        duration_ms: 0,
        message: None,
        diff: None,
    };
    work.recorder.borrow_mut().step(step);
    TaskEnd::nothing_left(Outcome::Succeeded, Code::Completed.because("a dry run runs no program"))
}

async fn beside(work: &AttemptContext<'_>, task: &PlannedTask, argv: Vec<String>) -> TaskEnd {
    let mut program = ChildSpec {
        argv: argv.into_iter().map(OsString::from).collect(),
        environment: std::collections::BTreeMap::new(),
        directory: work.directory.path().to_owned(),
        record: work.directory.child(),
        marker: task.marker(work.operation.attempt_id()),
        plugged: None,
    };
    if work.secrets.of_task(task.number).next().is_some() {
        let written = work.private.directory(&format!("task-{}", task.number)).and_then(|directory| {
            for (name, secret) in work.secrets.of_task(task.number) {
                write_private(&directory.join(name.as_str()), secret.expose_secret().as_bytes())?;
            }
            Ok(directory)
        });
        match written {
            Ok(directory) => drop(program.environment.insert(SECRETS.to_owned(), directory.into())),
            Err(error) => return TaskEnd::not_started(error.reason()),
        }
    }
    let process = match LocalChild::start(program).await {
        Ok(process) => process.leaving(task.leaves_processes),
        Err(error) => return TaskEnd::not_started(start_reason(&error)),
    };
    let mut stops = work.stops_of(task);
    let ended = run_child(process, None, None, &work.recorder, &mut stops).await;
    let said = || work.recorder.borrow().errors_end(300);
    let (outcome, mut reason) = super::work::outcome_of(&ended, "the program", &said);
    say_what_lives_on(task.leaves_processes, outcome, ended.remains, &mut reason);
    TaskEnd { outcome, reason, exit: ended.exit.clone(), local: ended.remains, remote: Remains::Gone }
}

/// The reason of a child that was not started.
pub(super) fn start_reason(error: &SpawnError) -> Reason {
    let code = match error {
        SpawnError::Missing(_) => Code::ProgramMissing,
        SpawnError::Start { source, .. } | SpawnError::Record { source, .. } => {
            aegir_service::io_error::code(source)
        }
    };
    code.because(aegir_service::error::chain(error))
}

async fn on_minions(work: &AttemptContext<'_>, task: &PlannedTask, argv: Vec<String>) -> TaskEnd {
    let minions = match work.minions(task, false).await {
        Ok(minions) => minions,
        Err(end) => return end,
    };
    let secrets: Vec<_> = work
        .secrets
        .of_task(task.number)
        .map(|(name, secret)| (name.as_str(), secret.expose_secret()))
        .collect();
    let marker = task.marker(work.operation.attempt_id());
    let program =
        OnMinions { argv, marker, secrets, leaves: task.leaves_processes, recorder: &work.recorder };
    let stops = work.stops_of(task);
    let ends = minions.iter().map(|(name, minion)| program.on(name, minion, stops.clone()));
    let mut ends = join_all(ends).await;
    // What a program is to leave lives on when the Task succeeds, and not where it did on this minion alone.
    if task.leaves_processes && ends.iter().any(|end| end.outcome != Outcome::Succeeded) {
        let marker = [program.marker.clone()];
        let lives_on = minions.values().zip(&mut ends).filter(|(_, end)| end.outcome == Outcome::Succeeded);
        join_all(lives_on.map(async |(minion, end)| end.remote = minion.end_running(&marker).await)).await;
    }
    worst(ends)
}

/// A program that is for several minions.
struct OnMinions<'a> {
    argv: Vec<String>,
    marker: String,
    secrets: Vec<(&'a str, &'a str)>,
    leaves: bool,
    recorder: &'a RefCell<Recorder>,
}

impl OnMinions<'_> {
    async fn on(&self, name: &HostName, minion: &Minion, mut stops: Stops) -> TaskEnd {
        let recorder = self.recorder;
        let started =
            stops.unless(RemoteProgram::start(minion, &self.argv, &self.marker, &self.secrets)).await;
        let program = match started {
            Ok(Ok(program)) => program,
            Ok(Err(error)) => return TaskEnd::not_started(error.reason()),
            Err(stop) => return TaskEnd::stopped_before(&stop),
        };
        let trailer = program.trailer();
        let mut ended =
            run_child(RemoteChild { program, leaves: self.leaves }, Some(name), None, recorder, &mut stops)
                .await;
        let said = *trailer.borrow();
        if let Some(reason) = said.and_then(|said| self.not_begun(said, name, minion)) {
            return TaskEnd::not_started(reason);
        }
        match said {
            Some(said) => {
                ended.exit = said.exit();
                ended.error = None;
            }
            None if ended.error.is_none() => {
                ended.error = Some("the connection ended before the program did".to_owned());
            }
            None => {}
        }
        let subject = format!("the program on minion {name}");
        let said = || recorder.borrow().errors_end(300);
        let (outcome, mut reason) = super::work::outcome_of(&ended, &subject, &said);
        say_what_lives_on(self.leaves, outcome, ended.remains, &mut reason);
        if outcome == Outcome::Succeeded && reason.message != "done" {
            reason.message.push_str(&format!(" (minion {name})"));
        }
        let Ended { exit, remains, .. } = ended;
        TaskEnd { outcome, reason, exit, local: Remains::Gone, remote: remains }
    }

    /// Why the shell around a program did not begin it.
    fn not_begun(&self, said: RemoteStart, name: &HostName, minion: &Minion) -> Option<Reason> {
        let reason = match said {
            RemoteStart::Ended(_) => return None,
            RemoteStart::Missing => {
                let program = self.argv.first().map(String::as_str).unwrap_or_default();
                let program: String = program.chars().take(200).collect();
                Code::ProgramMissing.because(format!(
                    "can't find the program {program:?} on minion {name}: install it there, or correct its path"
                ))
            }
            RemoteStart::Nowhere => Code::AttentionNeeded.because(format!(
                "minion {name} has no memory for the secrets of the program: mount a tmpfs at /dev/shm that {} can write to, \
                 or give it an XDG_RUNTIME_DIR",
                minion.login().user
            )),
            RemoteStart::Unkept => Code::TaskFailed.because(format!(
                "the secrets of the program can't be kept in the memory of minion {name}: see whether its /dev/shm is full"
            )),
        };
        Some(reason)
    }
}

/// What there is to say of processes that may live on.
fn say_what_lives_on(leaves: bool, outcome: Outcome, remains: Remains, reason: &mut Reason) {
    if leaves && outcome == Outcome::Succeeded {
        reason.message = match remains {
            Remains::Left => "done; what it has started runs on, as its manifest says",
            Remains::Gone => "done; nothing that it has started runs on",
            Remains::Unknown => "done; whether what it has started runs on is not known",
        }
        .to_owned();
    }
}

/// A program on a minion as a child.
struct RemoteChild {
    program: RemoteProgram,
    /// Whether what it has started may live on when it has succeeded.
    leaves: bool,
}

impl Child for RemoteChild {
    type Output = RemoteStream;

    fn streams(&mut self) -> (RemoteStream, RemoteStream) {
        self.program.streams()
    }

    async fn wait(&mut self) -> io::Result<ChildExit> {
        // How it ended stands in the trailer, which may still be on its way.
        self.program.wait().await.map(|()| ChildExit::default())
    }

    fn signal(&mut self, stop_signal: StopSignal) {
        self.program.signal(stop_signal);
    }

    async fn clean_up(&mut self, suspicion: bool) -> Cleanup {
        // Without a word from around the program the connection was lost, and nobody knows what became of it there.
        let told = self.program.trailer().borrow().is_some();
        if told && !suspicion && !self.leaves {
            return Cleanup { found: false, remains: Remains::Gone };
        }
        Cleanup { found: false, remains: self.program.end().await }
    }

    fn may_leave(&self, _exit: &ChildExit) -> bool {
        self.leaves && *self.program.trailer().borrow() == Some(RemoteStart::Ended(0))
    }

    async fn leave_running(&mut self) -> Remains {
        self.program.look().await
    }
}
