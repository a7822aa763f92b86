//! Plug-in runners: programs of the operator's choice, which speak [`aegir_catalog::runner`].
//!
//! A plug-in runs beside dispatcherd, in a process group, with a cleared environment and limits. It gets the Task on its
//! standard input, from a file in the private directory, and speaks on descriptor 3, a named pipe beside that. When it was
//! stopped, it is asked with the verb `cancel` to see to what it has begun elsewhere.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use aegir_attempt::plan::{self, PlannedTask};
use aegir_attempt::private::{PrivateError, write_private};
use aegir_catalog::manifest::PluginVerb;
use aegir_catalog::runner::{Input, PROTOCOL, Verb};
use aegir_protocol::code::Code;
use aegir_protocol::record::{ChildExit, Remains};
use aegir_protocol::state::{Outcome, Reason};
use rustix::fs::{CWD, Mode, mkfifoat};
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::child::{Ended, run_child};
use super::events::TaskEvents;
use super::outputs::OutputValue;
use super::process::{ChildSpec, LocalChild, PluginIo};
use super::shell::start_reason;
use super::stop::stops;
use super::task_end::TaskEnd;
use super::work::{self, AttemptContext};

/// How long a plug-in may take to see to what it has begun.
const CANCEL: Duration = Duration::from_secs(20);

/// A Task of a plug-in.
#[derive(Clone, Copy, Debug)]
pub(super) struct PluginRun<'a> {
    pub(super) work: &'a AttemptContext<'a>,
    pub(super) task: &'a PlannedTask,
    pub(super) config: &'a plan::PluginCommand,
    pub(super) verb: PluginVerb,
    pub(super) settings: &'a Map<String, Value>,
}

/// Why a plug-in was not started.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    /// What it reads, or where it speaks.
    #[error("can't make {path}")]
    Make { path: PathBuf, source: io::Error },
    /// What it reads holds secrets.
    #[error(transparent)]
    Secret(#[from] PrivateError),
}

impl PrepareError {
    fn reason(&self) -> Reason {
        match self {
            Self::Make { source, .. } => {
                aegir_service::io_error::code(source).because(aegir_service::error::chain(self))
            }
            Self::Secret(error) => error.reason(),
        }
    }
}

impl PluginRun<'_> {
    /// Carries the Task out.
    pub(super) async fn run(self) -> TaskEnd {
        let verb = match self.verb {
            _ if self.work.operation.is_dry_run() => Verb::Plan,
            PluginVerb::Apply => Verb::Apply,
            PluginVerb::Delete => Verb::Delete,
        };
        let grace = Duration::from_secs(self.config.grace_seconds);
        let mut stops = self.work.stops_of(self.task).with_grace(grace);
        let (ended, events) = match self.start(verb, &mut stops).await {
            Ok(ended) => ended,
            Err(reason) => return TaskEnd::not_started(reason),
        };
        let remote = self.see_to_the_rest(&ended).await;
        let (outcome, reason) = self.outcome_of(&ended, &events);
        TaskEnd { outcome, reason, exit: ended.exit.clone(), local: ended.remains, remote }
    }

    /// Where nothing but its own end ended it, nothing is left elsewhere. Otherwise it is asked to see to that.
    async fn see_to_the_rest(self, ended: &Ended) -> Remains {
        match &ended.stop {
            None if ended.exit.code.is_some() => return Remains::Gone,
            // Another attempt may have begun, and what it does has the same names.
            _ if self.work.stops.lease_is_over() => return Remains::Unknown,
            None | Some(_) => {}
        }
        let (_stopper, mut stops) = stops(Some(CANCEL.as_secs()));
        match self.start(Verb::Cancel, &mut stops).await {
            Ok((ended, _)) if ended.exit == (ChildExit { code: Some(0), signal: None }) => Remains::Gone,
            Ok(_) => Remains::Unknown,
            Err(reason) => {
                tracing::warn!(task = %self.task.name, %reason, "the plug-in can't be asked to cancel");
                Remains::Unknown
            }
        }
    }

    async fn start(self, verb: Verb, stops: &mut super::stop::Stops) -> Result<(Ended, TaskEvents), Reason> {
        let (program, mut events) = self.prepare(verb).map_err(|error| error.reason())?;
        let process = LocalChild::start(program).await.map_err(|error| start_reason(&error))?;
        let ended = run_child(process, None, Some(&mut events), &self.work.recorder, stops).await;
        Ok((ended, events))
    }

    fn prepare(self, verb: Verb) -> Result<(ChildSpec, TaskEvents), PrepareError> {
        let Self { work, task, config, .. } = self;
        let make = |path: PathBuf| move |source| PrepareError::Make { path, source };
        let private = work.private.directory(&format!("task-{}-{}", task.number, verb.as_str()))?;
        let (input, lines) = (private.join("input.json"), private.join("lines"));
        let text = serde_json::to_vec(&self.input(verb)).expect("an input has string keys");
        write_private(&input, &text)?;
        mkfifoat(CWD, &lines, Mode::RUSR | Mode::WUSR).map_err(|errno| make(lines.clone())(errno.into()))?;
        let events = TaskEvents::of_plugin(&lines).map_err(make(lines.clone()))?;
        let directory = work.task_directory(task).map_err(make(work.directory.path().to_owned()))?;
        let mut limits = vec![("-c", 0), ("-n", config.open_files)];
        limits.extend(config.memory_bytes.map(|bytes| ("-v", bytes.div_ceil(1024))));
        limits.extend(config.processor_seconds.map(|seconds| ("-t", seconds)));
        let program = ChildSpec {
            argv: config.command.iter().map(String::as_str).chain([verb.as_str()]).map(Into::into).collect(),
            environment: BTreeMap::new(),
            directory,
            record: work.directory.child(),
            marker: work.marker(),
            plugged: Some(PluginIo { input, lines, limits }),
        };
        Ok((program, events))
    }

    fn input(self, verb: Verb) -> Input {
        let Self { work, task, settings, .. } = self;
        let operation = work.operation;
        let plain = task.variables.iter().map(|(name, resolved)| (name.clone(), resolved.value.clone()));
        let secret = |text: &secrecy::SecretString| Value::String(text.expose_secret().to_owned());
        let secrets = work.secrets.of_task(task.number).map(|(name, text)| (name.clone(), secret(text)));
        let held = |held: &OutputValue| match held {
            OutputValue::Plain(value) => value.clone(),
            OutputValue::Secret(text) => secret(text),
        };
        let recorder = work.recorder.borrow();
        let outputs = recorder.outputs().by_task().iter().map(|(task, documents)| {
            (task.clone(), documents.iter().map(|(name, value)| (name.clone(), held(value))).collect())
        });
        let content = work.plan.settings.content_directory.join(&task.digest);
        Input {
            protocol: PROTOCOL.to_owned(),
            verb,
            task_verb: self.verb,
            operation: operation.id,
            name: operation.name.clone(),
            attempt: operation.attempt,
            target: operation.target.clone(),
            role: task.role.clone(),
            role_directory: content.join(task.role_within()).to_string_lossy().into_owned(),
            task: task.name.clone(),
            hosts: work.hosts(task).cloned().collect(),
            // A secret's plain text stands in the place of its sealed value.
            variables: plain.chain(secrets).collect(),
            absent: task.absent.clone(),
            declared: task.declared.clone(),
            outputs: outputs.collect(),
            approved: operation
                .approved
                .as_ref()
                .and_then(|approved| approved.tasks.get(&task.number).cloned()),
            settings: settings.clone(),
        }
    }

    fn outcome_of(self, ended: &Ended, events: &TaskEvents) -> (Outcome, Reason) {
        let subject = format!("the plug-in {}", self.task.action.runner());
        let step_stats = events.step_stats();
        let failed = ended.exit.code.is_some_and(|code| code != 0) && ended.stop.is_none();
        match step_stats.failures.first() {
            _ if ended.exit.code == Some(0) && ended.stop.is_none() && !step_stats.greeted => {
                let message = format!(
                    "{subject} ended well, but said nothing on descriptor 3: `aegir runner check` says what it should"
                );
                (Outcome::Failed, Code::RunnerFailed.because(message))
            }
            Some(failure) if failed => (Outcome::Failed, failure.reason(step_stats.failures.len() - 1)),
            _ => work::outcome_of(ended, &subject, &|| self.work.recorder.borrow().errors_end(300)),
        }
    }
}
