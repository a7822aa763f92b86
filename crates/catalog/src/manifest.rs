//! What a role declares in `meta/aegir.yml`.
//!
//! Unknown fields are refused, because people write these types. In catalogs they are ignored: see `lenient`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use aegir_protocol::name::{
    ActionName, DocumentName, Kind, OperationName, RoleTask, RunnerName, TaskName, VariableName,
};
use aegir_protocol::operation::LockMode;

mod check;
mod plugin;
mod services;
mod value;

pub use services::Services;
pub use value::{OutputManifest, VariableManifest};

/// The `schema` that a manifest of this version names.
pub const MANIFEST_SCHEMA: &str = "aegir.role/0";

/// A role's manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `aegir.role/0`.
    #[schemars(extend("const" = MANIFEST_SCHEMA))]
    pub schema: String,
    /// For people, in two or three words.
    pub title: String,
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The kinds of target that its operations are for.
    pub targets: Vec<Kind>,
    /// What a frontend can ask for.
    pub operations: BTreeMap<ActionName, OperationManifest>,
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
#[schemars(extend("anyOf" = [{"required": ["title", "tasks"]}, {"required": ["uses"]}]))]
pub struct OperationManifest {
    /// An operation of another role beside this one, as `ROLE.OPERATION`: this one is what that one is, where it says nothing
    /// else itself. A Task of it that this role does not have is as if it said `uses: ROLE.TASK`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<OperationName>,
    /// For people, as on a button: `Deploy`.
    #[serde(default)]
    pub title: String,
    /// What it does, in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The Tasks, in the order in which they run.
    #[serde(default)]
    pub tasks: Vec<TaskName>,
    /// Whether it destroys something, so that a frontend should ask first.
    #[serde(default)]
    pub dangerous: bool,
    /// What somebody is to confirm first, as a question: a frontend shows it, and `aegir run` asks it on a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Whether a second run after a half-finished first one is harmless. What is `safe` runs under a lease: when
    /// its node falls silent for longer than that, it is given up and tried again by itself. `never` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// How long an attempt may go on without word from relayd, in seconds (5 to 86400); 900 when absent. Only
    /// with `retry: safe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// Tries again by itself after a failure, too. Only with `retry: safe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// Locks beside target (exclusive) and hosts (shared), and those of the operation that it `uses`.
    #[serde(default)]
    pub locks: Vec<LockManifest>,
}

/// Whether an attempt may be repeated without a person's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Retry {
    /// Only when somebody asks for it.
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
    /// How long an attempt may go on without word from relayd; `None` for one that may go on for ever.
    #[must_use]
    pub fn lease_seconds(&self) -> Option<u64> {
        match self.retry {
            None | Some(Retry::Never) => None,
            Some(Retry::Safe) => Some(self.lease_seconds.unwrap_or(DEFAULT_LEASE_SECONDS)),
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
    pub uses: Option<RoleTask>,
    /// On the hosts that offer this service, or one of these; on all hosts when absent.
    #[serde(default, skip_serializing_if = "Services::is_empty")]
    pub service: Services,
    /// How long it may take, in seconds; dispatcherd's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<u64>,
    /// How long it may print nothing, in seconds; dispatcherd's setting when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
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
    /// The playbook may be for none of the Task's hosts. Where this is absent, the Task fails when no host matches the
    /// `hosts` of any of its plays: nothing was done then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_match_no_host: bool,
}

/// A Task of the `shell` runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShellTask {
    /// The program and its arguments. No shell reads them.
    pub argv: Vec<Argument>,
    /// Where it runs. In a manifest the key is `where`: YAML 1.1 readers take a bare `on` for a boolean.
    #[serde(default, rename = "where")]
    pub on: RunsOn,
    /// Whether what it has started, such as a daemon, may live on when it has succeeded. Otherwise what keeps its output
    /// open is ended, and with that all that it started.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaves_processes: bool,
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

/// Where a program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunsOn {
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

impl TaskManifest {
    /// Whether it needs no minion: it runs beside dispatcherd, and names no service.
    #[must_use]
    pub fn needs_no_host(&self) -> bool {
        match (&self.plugin, &self.shell) {
            (Some(_), _) => self.service.is_empty(),
            (None, Some(shell)) => shell.on == RunsOn::Dispatcher,
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
