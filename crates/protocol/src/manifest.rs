//! What a role declares in `meta/aegir.yml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::name::{DocumentName, Kind, OperationName, RunnerName, ServiceName, TaskName, VariableName};
use crate::operation::LockMode;

mod value;

pub use value::{OutputManifest, VariableManifest};

/// The `schema` that a manifest of this version names.
pub const MANIFEST_SCHEMA: &str = "aegir.role/0";

/// A role's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `aegir.role/0`.
    pub schema: String,
    /// For people, in two or three words.
    pub title: String,
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The kinds of target that its operations are for.
    pub targets: Vec<Kind>,
    /// What a frontend can ask for.
    pub operations: BTreeMap<TaskName, OperationManifest>,
    /// The steps that operations are made of.
    #[serde(default)]
    pub tasks: BTreeMap<TaskName, TaskManifest>,
    /// What can be set.
    #[serde(default)]
    pub variables: BTreeMap<VariableName, VariableManifest>,
}

/// One of a role's operations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OperationManifest {
    /// For people, as on a button: `Deploy`.
    pub title: String,
    /// What it does, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The Tasks, in the order in which they run.
    pub tasks: Vec<TaskName>,
    /// Whether it destroys something, so that a frontend should ask first.
    #[serde(default)]
    pub dangerous: bool,
    /// What somebody is to confirm first, as a question: a frontend shows it, and `aegir run` asks it on a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Whether a second run after a half-finished first one is harmless. What is `safe` runs under a lease: when
    /// its node falls silent for longer than that, it is given up and tried again by itself.
    #[serde(default)]
    pub retry: Retry,
    /// How long an attempt may go on without word from relayd, in seconds (5 to 86400); 900 when absent. Only
    /// with `retry: safe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// Tries again by itself after a failure, too. Only with `retry: safe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Locks beside target (exclusive) and hosts (shared).
    #[serde(default)]
    pub locks: Vec<LockManifest>,
}

/// Whether an attempt may be repeated without a person's decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Only when somebody asks for it.
    #[default]
    Never,
    /// Running it again does no harm.
    Safe,
}

/// How often, and when, a failed Operation is tried again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retries {
    /// How many attempts there are at most, the first one included (2 to 10).
    pub attempts: u32,
    /// How long after the first failure, in seconds (1 to 86400); twice as long after each further one, a day at
    /// most. 60 when absent.
    #[serde(default = "Retries::default_backoff")]
    pub backoff_seconds: u64,
}

impl Retries {
    fn default_backoff() -> u64 {
        60
    }
}

/// The lease of a `retry: safe` operation whose manifest names none, in seconds.
pub const DEFAULT_LEASE_SECONDS: u64 = 900;

impl OperationManifest {
    /// What is wrong with how it is tried again, each after the name of the operation.
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.retry == Retry::Never && (self.lease_seconds.is_some() || self.retries.is_some()) {
            wrong.push(": lease_seconds and retries want `retry: safe`".to_owned());
        }
        if !self.lease_seconds.is_none_or(|seconds| (5..=86_400).contains(&seconds)) {
            wrong.push(".lease_seconds: 5 to 86400 is expected".to_owned());
        }
        if let Some(retries) = self.retries {
            if !(2..=10).contains(&retries.attempts) {
                wrong.push(".retries.attempts: 2 to 10 is expected".to_owned());
            }
            if !(1..=86_400).contains(&retries.backoff_seconds) {
                wrong.push(".retries.backoff_seconds: 1 to 86400 is expected".to_owned());
            }
        }
        wrong
    }

    /// How long an attempt may go on without word from relayd; `None` for one that may go on for ever.
    #[must_use]
    pub fn lease_seconds(&self) -> Option<u64> {
        match self.retry {
            Retry::Never => None,
            Retry::Safe => Some(self.lease_seconds.unwrap_or(DEFAULT_LEASE_SECONDS)),
        }
    }
}

/// A lock that an operation takes besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockManifest {
    /// The kind of the thing.
    pub kind: Kind,
    /// The variable whose value is the thing's id.
    pub variable: VariableName,
    /// How it is held.
    pub mode: LockMode,
}

/// One of a role's tasks. With neither `ansible` nor `shell` it is the task-file of its own name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskManifest {
    /// For people: `Fetch the codebase`.
    #[serde(default)]
    pub title: Option<String>,
    /// Carried out by ansible-playbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ansible: Option<AnsibleTask>,
    /// Carried out by a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<ShellTask>,
    /// Carried out by a plug-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginTask>,
    /// A task of another role beside this one, as `ROLE.TASK`, whose task-file this one imports: it gets that one's
    /// variables too, under both roles' names, and hands over its outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<OperationName>,
    /// On the hosts that offer this service; on all hosts when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// How long it may take, in seconds; dispatcherd's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// How long it may print nothing, in seconds; dispatcherd's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_seconds: Option<u64>,
    /// The variables that it gets. It gets no others.
    #[serde(default)]
    pub variables: Vec<VariableName>,
    /// The documents that it hands over, and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<DocumentName, OutputManifest>,
}

/// A Task of the `ansible` runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnsibleTask {
    /// The file in the role's `tasks/`; the Task's own name and `.yml` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_file: Option<String>,
    /// Instead of a task-file, a whole playbook of the operator's own: a path below one of dispatcherd's
    /// content roots. Its plays find the Task's minions in the group `task`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub playbook: Option<String>,
}

/// A Task of the `shell` runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellTask {
    /// The program and its arguments. No shell reads them.
    pub argv: Vec<Argument>,
    /// Where it runs. In a manifest the key is `where`: YAML 1.1 readers take a bare `on` for a boolean.
    #[serde(default, rename = "where")]
    pub on: Place,
}

/// A Task of a plug-in runner, which runs beside dispatcherd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginTask {
    /// Which: dispatcherd's config names its command.
    pub runner: RunnerName,
    /// What it is to do; in a dry run it is always `plan`.
    #[serde(default)]
    pub verb: PluginVerb,
    /// What it is told besides: whatever the plug-in documents.
    #[serde(default, rename = "with", skip_serializing_if = "Map::is_empty")]
    pub settings: Map<String, Value>,
}

/// What a manifest can ask of a plug-in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginVerb {
    /// To bring it about.
    #[default]
    Apply,
    /// To take it away.
    Delete,
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// On each of the Task's minions, over SSH.
    #[default]
    Minions,
    /// Beside dispatcherd, where its config allows that.
    Dispatcher,
}

/// One word of a command line: a fixed text, or a value as it is: a string's characters, or any other value as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A fixed text.
    Text(String),
    /// `{variable: NAME}`: the value of a variable.
    Variable(VariableName),
    /// `{output: TASK.DOCUMENT}`: what an earlier Task has handed over.
    Output(TaskName, DocumentName),
}

/// What is expected of one.
const ARGUMENT: &str = "a text, {variable: NAME} or {output: TASK.DOCUMENT} is expected";

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Variable(name) => BTreeMap::from([("variable", name)]).serialize(serializer),
            Self::Output(task, document) => {
                BTreeMap::from([("output", format!("{task}.{document}"))]).serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let object = match Value::deserialize(deserializer)? {
            Value::String(text) => return Ok(Self::Text(text)),
            Value::Object(object) if object.len() == 1 => object,
            other => return Err(D::Error::custom(format!("{ARGUMENT}, not {other}"))),
        };
        let text = |key: &str| object.get(key).and_then(Value::as_str);
        match (text("variable"), text("output").and_then(|output| output.split_once('.'))) {
            (Some(name), _) => name.parse().map(Self::Variable).map_err(D::Error::custom),
            (None, Some((task, document))) => Ok(Self::Output(
                task.parse().map_err(D::Error::custom)?,
                document.parse().map_err(D::Error::custom)?,
            )),
            (None, None) => Err(D::Error::custom(ARGUMENT)),
        }
    }
}

impl JsonSchema for Argument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let variable = generator.subschema_for::<VariableName>();
        let object = |key: &str, value: Value| json!({ "type": "object", "properties": { key: value }, "required": [key], "additionalProperties": false });
        let output = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}\\.[a-z][a-z0-9_]{0,62}$" });
        schemars::json_schema!({ "oneOf": [
            { "type": "string" },
            object("variable", variable.to_value()),
            object("output", output),
        ] })
    }
}

impl Manifest {
    /// What is wrong with it, in sentences; empty when nothing is. Files are not looked at.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.schema != MANIFEST_SCHEMA {
            wrong.push(format!("schema is {:?}, {MANIFEST_SCHEMA:?} is expected", self.schema));
        }
        for (name, operation) in &self.operations {
            for task in operation.tasks.iter().filter(|task| !self.tasks.contains_key(*task)) {
                wrong.push(format!("operations.{name}.tasks names {task}, which is not among tasks"));
            }
            for lock in &operation.locks {
                let problem = match self.variables.get(&lock.variable) {
                    None => "which is not among variables",
                    Some(variable) if variable.of_hosts() => "of which each host has its own",
                    Some(_) => continue,
                };
                wrong.push(format!("operations.{name}.locks names {}, {problem}", lock.variable));
            }
            for (number, task) in operation.tasks.iter().enumerate() {
                let words = self.tasks.get(task).and_then(|task| task.shell.as_ref());
                for word in words.into_iter().flat_map(|shell| &shell.argv) {
                    if let Argument::Output(of, _) = word
                        && !operation.tasks[..number].contains(of)
                    {
                        wrong.push(format!("operations.{name}: {task} gets what {of} hands over, which does not come before it"));
                    }
                }
            }
            wrong.extend(operation.check().into_iter().map(|error| format!("operations.{name}{error}")));
        }
        for (name, task) in &self.tasks {
            for variable in task.variables.iter().filter(|variable| !self.variables.contains_key(*variable)) {
                wrong.push(format!("tasks.{name}.variables names {variable}, which is not among variables"));
            }
            wrong.extend(task.check().into_iter().map(|error| format!("tasks.{name}: {error}")));
            let of_hosts =
                |name: &&VariableName| self.variables.get(*name).is_some_and(VariableManifest::of_hosts);
            if task.task_file(name).is_none()
                && let Some(variable) = task.variables.iter().find(of_hosts)
            {
                wrong.push(format!("tasks.{name} gets {variable}, whose scope hosts is for task-files"));
            }
            wrong.extend(self.check_outputs_of(task).map(|error| format!("tasks.{name}: {error}")));
        }
        for (name, variable) in &self.variables {
            wrong.extend(variable.check().into_iter().map(|error| format!("variables.{name}{error}")));
        }
        wrong
    }

    /// Which outputs of other tasks a program gets that these do not hand over.
    fn check_outputs_of(&self, task: &TaskManifest) -> impl Iterator<Item = String> {
        let argv = task.shell.iter().flat_map(|shell| &shell.argv);
        argv.filter_map(|argument| match argument {
            Argument::Text(_) | Argument::Variable(_) => None,
            Argument::Output(of, document) => {
                let declared = self.tasks.get(of).and_then(|task| task.outputs.get(document));
                match declared {
                    None => Some(format!("shell.argv uses {of}.{document}, and no task {of} has {document} among its outputs")),
                    Some(output) if output.secret() => Some(format!(
                        "shell.argv uses {of}.{document}, a secret, which everybody on the host could read there"
                    )),
                    Some(_) => None,
                }
            }
        })
    }
}

impl TaskManifest {
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let runners = [self.ansible.is_some(), self.shell.is_some(), self.plugin.is_some()];
        if runners.into_iter().filter(|there| *there).count() > 1 {
            wrong.push("ansible, shell and plugin exclude each other".to_owned());
        }
        if self.uses.is_some() && (self.shell.is_some() || self.plugin.is_some()) {
            wrong.push("uses is for task-files".to_owned());
        }
        if let Some(shell) = &self.shell {
            if shell.argv.is_empty() {
                wrong.push("shell.argv is empty: name a program".to_owned());
            }
            for argument in &shell.argv {
                if let Argument::Variable(name) = argument
                    && !self.variables.contains(name)
                {
                    wrong.push(format!("shell.argv uses {name}, which is not among the task's variables"));
                }
            }
        }
        for (name, output) in &self.outputs {
            wrong.extend(output.check().into_iter().map(|error| format!("outputs.{name}{error}")));
        }
        if let Some(ansible) = &self.ansible {
            if ansible.task_file.is_some() && ansible.playbook.is_some() {
                wrong.push("ansible.task_file and ansible.playbook exclude each other".to_owned());
            }
            if ansible.task_file.as_deref().is_some_and(|file| file.contains('/') || file.starts_with('.')) {
                wrong.push("ansible.task_file is a file's name in tasks/, without a directory".to_owned());
            }
        }
        wrong
    }

    /// Whether it needs no minion: it runs beside dispatcherd, and names no service.
    #[must_use]
    pub fn needs_no_host(&self) -> bool {
        match (&self.plugin, &self.shell) {
            (Some(_), _) => self.service.is_none(),
            (None, Some(shell)) => shell.on == Place::Dispatcher,
            (None, None) => false,
        }
    }

    /// The file in the role's `tasks/` that it runs, unless it is a program, a plug-in's or a playbook.
    #[must_use]
    pub fn task_file(&self, name: &TaskName) -> Option<String> {
        if self.shell.is_some()
            || self.plugin.is_some()
            || self.ansible.as_ref().is_some_and(|ansible| ansible.playbook.is_some())
        {
            return None;
        }
        let named = self.ansible.as_ref().and_then(|ansible| ansible.task_file.clone());
        Some(named.unwrap_or_else(|| format!("{name}.yml")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_only_what_other_tasks_hand_over_in_the_clear() {
        let manifest = |word: Value| {
            let manifest = json!({
                "schema": MANIFEST_SCHEMA, "title": "T", "targets": [],
                "operations": {"move": {"title": "Move", "tasks": ["dump", "load"]}},
                "tasks": {
                    "dump": {"outputs": {"path": {"type": "string"}, "key": {"type": "string", "secret": true}}},
                    "load": {"shell": {"argv": ["load", word]}},
                },
            });
            serde_json::from_value::<Manifest>(manifest).map_err(|error| error.to_string())
        };
        let wrong = |output: &str| manifest(json!({"output": output})).unwrap().check().join("; ");
        assert_eq!(wrong("dump.path"), "");
        assert!(wrong("dump.size").contains("no task dump has size among its outputs"));
        assert!(wrong("dump.key").contains("a secret"));
        let mut backwards = manifest(json!({"output": "dump.path"})).unwrap();
        for operation in backwards.operations.values_mut() {
            operation.tasks.reverse();
        }
        assert!(
            backwards
                .check()
                .join("; ")
                .contains("load gets what dump hands over, which does not come before")
        );
        for word in [json!({"output": "dump"}), json!({"outputs": "dump.path"}), json!(3)] {
            assert!(manifest(word).unwrap_err().contains(ARGUMENT));
        }
        let argument = Argument::Output("dump".parse().unwrap(), "path".parse().unwrap());
        assert_eq!(json!(argument), json!({"output": "dump.path"}));
    }
}
