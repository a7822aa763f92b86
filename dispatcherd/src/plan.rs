//! The Tasks that an Operation became: `plan.json`.
//!
//! dispatcherd writes it once, before it launches the runner, and the runner reads nothing else but
//! `operation.json` beside it. It holds a copy of every setting that matters, so that a config file that is
//! edited, or a role that is upgraded, changes nothing under a running attempt.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegir_protocol::catalog::Resolved;
use aegir_protocol::id::AttemptId;
use aegir_protocol::manifest::{Argument, OutputManifest, Place, PluginVerb};
use aegir_protocol::name::{
    DocumentName, HostName, NodeName, RoleName, RunnerName, TaskName, UserName, VariableName,
};
use aegir_protocol::operation::DoneTask;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::config::Runner;

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// `aegir.plan/0`.
    pub schema: String,
    /// Of which attempt.
    pub attempt: AttemptId,
    /// By which node.
    pub node: NodeName,
    /// In order.
    pub tasks: Vec<PlannedTask>,
    /// As they were when the attempt was planned.
    pub settings: Settings,
}

/// The `schema` of a plan.
pub const PLAN_SCHEMA: &str = "aegir.plan/0";

/// One Task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedTask {
    /// From 1.
    pub number: u32,
    /// Of which role.
    pub role: RoleName,
    /// SHA-256 of the role's files, or of its collection's, which are below `<content>/<digest>/`.
    pub digest: String,
    /// The Ansible collection that the role is in: `namespace.name`.
    #[serde(default)]
    pub collection: Option<String>,
    /// Which of its tasks.
    pub name: TaskName,
    /// For people.
    pub title: String,
    /// What carries it out.
    pub action: Action,
    /// On which of the Operation's hosts.
    pub hosts: Vec<HostName>,
    /// Its variables, and no others.
    pub variables: BTreeMap<VariableName, Resolved>,
    /// Those that its manifest names besides, and that have no value for all of its hosts.
    #[serde(default)]
    pub absent: Vec<VariableName>,
    /// Those of which each host has its own.
    #[serde(default)]
    pub of_hosts: BTreeMap<HostName, BTreeMap<VariableName, Resolved>>,
    /// The variables that it gets under the names of other roles too, whose task-files its own builds on.
    #[serde(default)]
    pub uses: BTreeMap<RoleName, Vec<VariableName>>,
    /// What it hands over.
    #[serde(default)]
    pub outputs: BTreeMap<DocumentName, OutputManifest>,
    /// The attempt that has finished it, and what it handed over: it does not run again.
    #[serde(default)]
    pub done: Option<DoneTask>,
    /// How long it may take.
    pub timeout_seconds: u64,
    /// How long it may print nothing; as long as it likes when absent.
    pub quiet_seconds: Option<u64>,
}

/// What carries a Task out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A task-file of the role.
    TaskFile(String),
    /// A playbook, by its absolute path below a content root.
    Playbook(PathBuf),
    /// A program.
    Program {
        /// The program and its arguments.
        argv: Vec<Argument>,
        /// Where.
        on: Place,
    },
    /// A plug-in's.
    Plugin {
        /// Which.
        runner: RunnerName,
        /// How it is started.
        config: Runner,
        /// What it is to do when it is no dry run.
        verb: PluginVerb,
        /// What it is told besides.
        settings: Map<String, Value>,
    },
}

impl PlannedTask {
    /// What task-files call one of its variables.
    pub fn names_of(&self, variable: &VariableName) -> impl Iterator<Item = String> {
        let used =
            self.uses.iter().filter(|(_, variables)| variables.contains(variable)).map(|(role, _)| role);
        std::iter::once(&self.role).chain(used).map(move |role| format!("{role}_{variable}"))
    }

    /// Where the role's files are, below those of its digest.
    #[must_use]
    pub fn role_within(&self) -> PathBuf {
        match &self.collection {
            Some(_) => {
                content_within(&self.role, self.collection.as_deref()).join("roles").join(self.role.as_str())
            }
            None => content_within(&self.role, None),
        }
    }
}

/// Where what a digest is of stands, below a directory of the digest's name: as Ansible looks for it.
#[must_use]
pub fn content_within(role: &RoleName, collection: Option<&str>) -> PathBuf {
    match collection.and_then(|collection| collection.split_once('.')) {
        Some((namespace, name)) => ["ansible_collections", namespace, name].iter().collect(),
        None => PathBuf::from(role.as_str()),
    }
}

impl Action {
    /// The runner kind, as records name it.
    #[must_use]
    pub fn runner(&self) -> &str {
        match self {
            Self::TaskFile(_) | Self::Playbook(_) => "ansible",
            Self::Program { .. } => "shell",
            Self::Plugin { runner, .. } => runner.as_str(),
        }
    }
}

/// What of dispatcherd's config the runner needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A memory file system: opened secrets, sockets, SSH control paths.
    pub runtime_directory: PathBuf,
    /// Roles by digest.
    pub content_directory: PathBuf,
    /// Where Ansible finds other collections than that of the role.
    #[serde(default)]
    pub collections: Vec<PathBuf>,
    /// The directories that codebases and playbooks may come from.
    pub content_roots: Vec<PathBuf>,
    /// The age identity that opens sealed values.
    pub age_identity_file: PathBuf,
    /// The login where a host names none.
    pub ssh_user: UserName,
    /// The private key of the login; ssh's own defaults when absent.
    pub ssh_identity_file: Option<PathBuf>,
    /// Host keys that an operator has trusted.
    pub known_hosts_file: PathBuf,
    /// How long a connection may take to come up.
    pub connect_timeout_seconds: u64,
    /// `ansible-playbook`, as a path or a name to look up in `PATH`.
    pub ansible_playbook: PathBuf,
    /// The Python that Ansible uses on minions.
    pub minion_python: PathBuf,
    /// Where our callback and action plug-ins are.
    pub ansible_plugins: PathBuf,
    /// How many bytes an attempt may print.
    pub output_limit_bytes: u64,
}
