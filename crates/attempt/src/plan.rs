//! The Tasks that an Operation became: `plan.json`.
//!
//! dispatcherd writes it once, before it launches the runner. Beside it the runner reads `operation.json` once, and `lease.json`
//! and `cancel.json` while it works. It holds a copy of every setting that matters, so that a config file that is
//! edited, or a role that is upgraded, changes nothing under a running attempt.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aegir_catalog::Resolved;
use aegir_catalog::manifest::PluginVerb;
use aegir_catalog::manifest::{Argument, OutputManifest, RunsOn, VariableManifest};
use aegir_protocol::id::AttemptId;
use aegir_protocol::name::{
    DocumentName, HostName, NodeName, RoleName, RunnerName, TaskName, UserName, VariableName,
};
use aegir_protocol::operation::DoneTask;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `plan.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskPlan {
    /// `aegir.plan/0`.
    pub schema: String,
    /// Of which attempt.
    pub attempt: AttemptId,
    /// By which node.
    pub node: NodeName,
    /// In order.
    pub tasks: Vec<PlannedTask>,
    /// As they were when the attempt was planned.
    pub settings: RunnerSettings,
    /// SHA-256 of the files of our own plug-ins for Ansible, which are below `<content>/<digest>/`. Where the settings
    /// say when absent, as in the plans of older versions.
    #[serde(default)]
    pub plugins: Option<String>,
}

/// Where our own plug-ins for Ansible are, below those of their digest. No role has this name.
pub const PLUGINS: &str = "ansible-plugins";

impl TaskPlan {
    /// Where our callback and action plug-ins are.
    #[must_use]
    pub fn ansible_plugins(&self) -> PathBuf {
        match &self.plugins {
            Some(digest) => self.settings.content_directory.join(digest).join(PLUGINS),
            None => self.settings.ansible_plugins.clone(),
        }
    }
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
    pub action: TaskAction,
    /// On which of the Operation's hosts.
    pub hosts: Vec<HostName>,
    /// Its variables, and no others.
    pub variables: BTreeMap<VariableName, Resolved>,
    /// Those that its manifest names besides, and that have no value for all of its hosts.
    #[serde(default)]
    pub absent: Vec<VariableName>,
    /// How its manifest declares all of these; for plug-ins.
    #[serde(default)]
    pub declared: BTreeMap<VariableName, VariableManifest>,
    /// Those of which each host has its own.
    #[serde(default)]
    pub of_hosts: BTreeMap<HostName, BTreeMap<VariableName, Resolved>>,
    /// The variables that it gets under the names of other roles too, whose task-files its own builds on.
    #[serde(default)]
    pub uses: BTreeMap<RoleName, Vec<VariableName>>,
    /// What it hands over.
    #[serde(default)]
    pub outputs: BTreeMap<DocumentName, OutputManifest>,
    /// Whether what it has started may live on when it has succeeded.
    #[serde(default)]
    pub leaves_processes: bool,
    /// The attempt that has finished it, and what it handed over: it does not run again.
    #[serde(default)]
    pub done: Option<DoneTask>,
    /// A playbook may be for none of its hosts.
    #[serde(default)]
    pub may_match_no_host: bool,
    /// How long it may take.
    pub timeout_seconds: u64,
    /// How long it may print nothing; as long as it likes when absent.
    pub quiet_seconds: Option<u64>,
}

/// What carries a Task out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskAction {
    /// A task-file of the role.
    TaskFile(String),
    /// A playbook, by its absolute path below a content root.
    Playbook(PathBuf),
    /// A program.
    Program {
        /// The program and its arguments.
        argv: Vec<Argument>,
        on: RunsOn,
    },
    /// A plug-in's.
    Plugin {
        runner: RunnerName,
        /// How it is started.
        config: PluginCommand,
        /// What it is to do when it is no dry run.
        verb: PluginVerb,
        /// What it is told besides.
        settings: Map<String, Value>,
    },
}

/// How a plug-in is started: what `[runners.NAME]` said. A type of its own, because a config file is read strictly and
/// a plan is not: one that a newer version has written says more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginCommand {
    /// The program and its first arguments; the verb comes behind them.
    pub command: Vec<String>,
    /// How many files one of its processes may have open.
    pub open_files: u64,
    /// How much memory one of its processes may have, in bytes; as much as there is when absent.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How long one of its processes may compute, in seconds; as long as it likes when absent.
    #[serde(default)]
    pub processor_seconds: Option<u64>,
    /// How long it may take to end in good order when a Task is called off, in seconds; then it gets SIGTERM.
    #[serde(default = "default_grace_seconds")]
    pub grace_seconds: u64,
}

fn default_grace_seconds() -> u64 {
    aegir_catalog::runner::GRACE_SECONDS
}

impl PlannedTask {
    /// What task-files call one of its variables.
    pub fn names_of(&self, variable: &VariableName) -> impl Iterator<Item = String> {
        let used =
            self.uses.iter().filter(|(_, variables)| variables.contains(variable)).map(|(role, _)| role);
        std::iter::once(&self.role).chain(used).map(move |role| format!("{role}_{variable}"))
    }

    /// What marks its processes in an attempt. Those that may outlive it have a mark of their own: whoever ends what the
    /// attempt's other Tasks left is to find them no more.
    #[must_use]
    pub fn marker(&self, attempt: AttemptId) -> String {
        if self.leaves_processes { format!("{attempt}:{}", self.number) } else { attempt.to_string() }
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

impl TaskAction {
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
pub struct RunnerSettings {
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
    /// Files with passwords of Ansible Vault, by vault id.
    #[serde(default)]
    pub vault_passwords: BTreeMap<String, PathBuf>,
    /// Where our callback and action plug-ins are installed.
    pub ansible_plugins: PathBuf,
    /// How many bytes an attempt may print.
    pub output_limit_bytes: u64,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn plan() -> Value {
        let task = |action: Value| {
            json!({
                "number": 1, "role": "example", "digest": "1", "name": "say", "title": "Say", "action": action, "hosts": ["web1"],
                "variables": {"word": {"value": 1, "from": "site"}}, "outputs": {"size": {"type": "integer"}},
                "done": {"task": 1, "attempt": 1}, "timeout_seconds": 60, "quiet_seconds": null,
            })
        };
        let plugin = json!({"runner": "note", "config": {"command": ["/bin/true"], "open_files": 1}, "verb": "apply", "settings": {}});
        json!({
            "schema": PLAN_SCHEMA, "attempt": {"operation": "019235f0-7a3c-7def-8000-000000000001", "attempt": 1},
            "node": "node1",
            "tasks": [
                task(json!({"task_file": "say.yml"})), task(json!({"plugin": plugin})),
                task(json!({"program": {"argv": ["x"], "on": "minions"}})),
            ],
            "settings": {
                "runtime_directory": "/run", "content_directory": "/c", "content_roots": [], "age_identity_file": "/a",
                "ssh_user": "root", "ssh_identity_file": null, "known_hosts_file": "/k", "connect_timeout_seconds": 1,
                "ansible_playbook": "a", "minion_python": "p", "ansible_plugins": "/p", "output_limit_bytes": 1,
            },
        })
    }

    /// Adds a word to every object that is no map of names.
    fn age(value: &mut Value, of: &str) {
        let is_map = ["action", "variables", "outputs", "value"].contains(&of);
        match value {
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, value)| age(value, if is_map { "" } else { name }));
                if !is_map {
                    fields.insert("from_the_future".to_owned(), json!({"a": [1]}));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| age(item, of)),
            _ => {}
        }
    }

    #[test]
    fn a_plan_of_a_newer_version_is_read_without_what_is_not_known() {
        let today: TaskPlan = serde_json::from_value(plan()).unwrap();
        assert_eq!(today.ansible_plugins(), PathBuf::from("/p"));
        let copied = TaskPlan { plugins: Some("d".to_owned()), ..today.clone() };
        assert_eq!(copied.ansible_plugins(), PathBuf::from("/c/d/ansible-plugins"));
        let mut future = plan();
        age(&mut future, "");
        let mut read: TaskPlan = serde_json::from_value(future).unwrap();
        for task in &mut read.tasks {
            // What the plug-in is told, and a JSON Schema, are kept whole.
            if let TaskAction::Plugin { settings, .. } = &mut task.action {
                settings.remove("from_the_future").unwrap();
            }
            task.outputs.values_mut().for_each(|output| drop(output.0.remove("from_the_future").unwrap()));
        }
        assert_eq!(read, today);
    }
}
