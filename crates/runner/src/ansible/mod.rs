//! The `ansible` runner: one task-file of a role, or a playbook of the operator's own.
//!
//! Everything that ansible-playbook reads is made for the one Task, in a directory that explains the run:
//! playbook, inventory, variables. Values from the frontend are wrapped so that they are never templates. A playbook of
//! the operator's own runs as it does by hand, beside its `ansible.cfg`, with what `environment` says on top.
//! Our callback plug-in says what happens over a socket; what Ansible prints becomes output records beside
//! that.

mod cut_off;
mod environment;
mod files;
mod outcome;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegir_protocol::code::Code;
use aegir_protocol::name::HostName;
use aegir_protocol::state::Reason;
use aegir_role::project::ProjectConfig;

use aegir_attempt::plan::{PlannedTask, TaskAction};
use aegir_attempt::vault::{self, VaultError};
use aegir_minions::Minion;

use self::environment::TaskPaths;
use super::child::run_child;
use super::decrypted::Decrypted;
use super::events::TaskEvents;
use super::process::{ChildSpec, LocalChild};
use super::shell::start_reason;
use super::task_end::TaskEnd;
use super::work::AttemptContext;
use outcome::PlayResult;

/// The environment variable that names the plug-in's socket.
const EVENTS: &str = "AEGIR_EVENTS";
/// The environment variable that names the socket for what Vault decrypts.
const VAULT: &str = "AEGIR_VAULT";
/// The environment variable from which the plug-in marks an operator's own plays.
const PLAY_MARKER: &str = "AEGIR_PLAY_MARKER";
/// The environment variable that names the inventory to whose hosts a plug-in keeps an operator's own plays.
const HOSTS: &str = "AEGIR_HOSTS";
/// How many minions Ansible works on at once.
const MOST_FORKS: usize = 20;

/// Carries a Task out.
pub(super) async fn run(work: &AttemptContext<'_>, task: &PlannedTask) -> TaskEnd {
    let (minions, down) = match work.minions_or_down(task).await {
        Ok(minions) => minions,
        Err(end) => return end,
    };
    let prepared = match prepare(work, task, &minions, &down) {
        Ok(prepared) => prepared,
        Err(failure) => return TaskEnd::not_started(failure.reason()),
    };
    let Prepared { program, mut events, decrypted } = prepared;
    let process = match LocalChild::start(program).await {
        Ok(process) => process,
        Err(error) => return TaskEnd::not_started(start_reason(&error)),
    };
    let mut stops = work.stops_of(task);
    let ended = tokio::select! {
        ended = run_child(process, None, Some(&mut events), &work.recorder, &mut stops) => ended,
        never = decrypted.mask(&work.recorder) => match never {},
    };
    let stopped = ended.stop.is_some() || ended.exit.code.is_none();
    // Killing ansible-playbook does not end what it started over a pipelined connection.
    let remote = if stopped {
        work.end_on(&minions).await
    } else {
        cut_off::end(work, events.step_stats(), &minions, &down).await
    };
    let logins = minions.iter().map(|(name, minion)| (name.to_string(), minion.login().clone())).collect();
    let down = down.into_iter().map(|(name, reason)| (name.to_string(), reason)).collect();
    let said = work.recorder.borrow().errors_end(1500);
    let outcome_of = PlayResult { logins, down, said, may_match_no_host: task.may_match_no_host };
    let (outcome, reason) = outcome_of.outcome_of(&ended, events.step_stats());
    TaskEnd { outcome, reason, exit: ended.exit, local: ended.remains, remote }
}

/// Why a Task's files could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum PrepareError {
    /// A file.
    #[error("can't write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    /// A secret file.
    #[error(transparent)]
    Secret(#[from] aegir_attempt::private::PrivateError),
    /// The socket.
    #[error("can't listen on {path}; choose a shorter runtime_directory if it is too long for a socket")]
    Listen { path: PathBuf, source: std::io::Error },
    /// The plug-in is not where the config says.
    #[error("there is no {path}: set ansible.plugins in dispatcherd's config to the folder that holds it")]
    NoPlugin {
        /// Where it should be.
        path: PathBuf,
    },
    /// A password of Vault's.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A variable that Ansible would not take for data.
    #[error("{0}")]
    Variable(#[from] super::unsafe_text::NotData),
}

impl PrepareError {
    fn reason(&self) -> Reason {
        let code = match self {
            Self::Secret(error) => return error.reason(),
            Self::Write { source, .. } | Self::Listen { source, .. } => aegir_service::io_error::code(source),
            Self::NoPlugin { .. } | Self::Variable(_) | Self::Vault(_) => Code::RunnerFailed,
        };
        code.because(aegir_service::error::chain(self))
    }
}

struct Prepared {
    program: ChildSpec,
    events: TaskEvents,
    decrypted: Decrypted,
}

fn prepare(
    work: &AttemptContext<'_>,
    task: &PlannedTask,
    minions: &BTreeMap<HostName, Minion>,
    down: &BTreeMap<HostName, Reason>,
) -> Result<Prepared, PrepareError> {
    let settings = &work.plan.settings;
    let plugins = work.plan.ansible_plugins();
    let plugin = plugins.join("callback_plugins/aegir.py");
    if !plugin.is_file() {
        return Err(PrepareError::NoPlugin { path: plugin });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PrepareError::Write { path, source }
    };
    let directory = work.task_directory(task).map_err(failed(work.directory.path()))?;
    let write = |name: &str, text: String| {
        let path = directory.join(name);
        aegir_attempt::private::write_private(&path, text.as_bytes())
            .map(|()| path)
            .map_err(PrepareError::from)
    };
    let inventory = write("inventory.json", files::inventory(work, task, minions, down)?)?;
    let (playbook, own) = match &task.action {
        TaskAction::Playbook(path) => (path.clone(), Some(ProjectConfig::of(path, &settings.content_roots))),
        TaskAction::TaskFile(file) => {
            (write("playbook.json", files::playbook(task, file, &work.marker()))?, None)
        }
        // Other runners have those.
        TaskAction::Program { .. } | TaskAction::Plugin { .. } => (PathBuf::new(), None),
    };
    let plain = write("variables.json", variables::plain(work, task)?)?;
    let private = work.private.directory(&format!("task-{}", task.number))?;
    let secret = variables::secret(work, task)?;
    let mut argv: Vec<OsString> = vec![settings.ansible_playbook.clone().into()];
    // Their hosts are there for their groups and variables; a play is for those of the Task, if it has any.
    let own_inventories = own.as_ref().filter(|_| !minions.is_empty());
    let theirs = own_inventories.map(ProjectConfig::inventories).unwrap_or_default();
    // Of two values for a host that of the last one counts.
    for inventory in theirs.into_iter().chain([inventory.clone()]) {
        argv.extend(["--inventory".into(), inventory.into()]);
    }
    argv.extend(vault::arguments(&settings.vault_passwords)?);
    argv.extend(["--extra-vars".into(), at(&plain)]);
    if let Some(secret) = secret {
        let path = private.join("secrets.json");
        aegir_attempt::private::write_private(&path, secret.as_bytes())?;
        argv.extend(["--extra-vars".into(), at(&path)]);
    }
    if work.operation.is_dry_run() {
        argv.extend(["--check".into(), "--diff".into()]);
    }
    argv.extend(["--".into(), playbook.into()]);
    let socket = private.join("events");
    let events = TaskEvents::listen(&socket)
        .map_err(|source| PrepareError::Listen { path: socket.clone(), source })?;
    let decrypts = private.join("vault");
    let decrypted = Decrypted::listen(&decrypts)
        .map_err(|source| PrepareError::Listen { path: decrypts.clone(), source })?;
    let temporary = private.join("tmp");
    aegir_attempt::private::private_directory(&temporary).map_err(failed(&temporary))?;
    let no_log = private.join(environment::NO_LOG);
    std::os::unix::fs::symlink("/dev/null", &no_log).map_err(failed(&no_log))?;
    let forks = minions.len().clamp(1, MOST_FORKS);
    let places = TaskPaths { settings, plugins: &plugins, task, private: &private };
    let mut environment = environment::environment(places, forks, own.as_ref());
    environment.insert("ANSIBLE_LOCAL_TEMP".to_owned(), temporary.into());
    environment.insert(EVENTS.to_owned(), socket.into());
    environment.insert(VAULT.to_owned(), decrypts.into());
    if own.is_some() {
        environment.insert(PLAY_MARKER.to_owned(), work.marker().into());
        environment.insert(HOSTS.to_owned(), inventory.into());
    }
    let (config, start) = match own {
        Some(ProjectConfig { file: Some(file), start, .. }) => (file, start),
        Some(ProjectConfig { file: None, start, .. }) => {
            (write("ansible.cfg", files::CONFIG.to_owned())?, start)
        }
        None => (write("ansible.cfg", files::CONFIG.to_owned())?, directory.clone()),
    };
    environment.insert("ANSIBLE_CONFIG".to_owned(), config.into());
    let program = ChildSpec {
        argv,
        environment,
        directory: start,
        record: work.directory.child(),
        marker: work.marker(),
        plugged: None,
    };
    Ok(Prepared { program, events, decrypted })
}

fn at(path: &Path) -> OsString {
    let mut argument = OsString::from("@");
    argument.push(path);
    argument
}
