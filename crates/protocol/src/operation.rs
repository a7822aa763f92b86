//! The Operation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::{Attempt, AttemptId, OperationId};
use crate::name::{
    Address, BackendName, DocumentName, FrontendName, HostName, Kind, OperationName, PlanHash, ServiceName,
    TargetId, TargetName, UserName, VariableName,
};

/// One attempt at an Operation, as relayd publishes it and dispatcherd journals it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Operation {
    /// Which Operation.
    pub id: OperationId,
    /// Which try at it.
    pub attempt: Attempt,
    /// What to do.
    pub name: OperationName,
    /// Who carries it out.
    pub backend: BackendName,
    /// Who asked, and gets the transcript.
    pub frontend: FrontendName,
    /// What it is about.
    pub target: Target,
    /// The minions that it may use.
    pub hosts: Vec<Host>,
    /// Values by the scope that they belong to.
    pub variables: Variables,
    /// What it holds while it runs.
    pub locks: Vec<Lock>,
    /// Which person or program asked, in the frontend's words.
    pub requested_by: Option<String>,
    /// When relayd accepted it.
    pub requested_at: Timestamp,
    /// 0 (lowest) to 9.
    #[serde(default)]
    pub priority: u8,
    /// A dry run: say what would change and change nothing.
    // The default goes when `check` goes: an Operation that says neither is then refused, and not carried out.
    #[serde(default)]
    pub dry_run: bool,
    /// What `dry_run` was called before; either says it. A node of the version before reads this one only.
    #[serde(default)]
    #[schemars(extend("deprecated" = true))]
    pub check: bool,
    /// How long the whole attempt may take, in seconds.
    pub timeout_seconds: Option<u64>,
    /// How long the attempt may go on without word from relayd, in seconds; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_seconds: Option<u64>,
    /// The attempt that this one repeats.
    pub retry_of: Option<Attempt>,
    /// What earlier attempts have finished, which this one need not do again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Done>,
    /// The plan that somebody has approved, and that this runs, as far as it fits still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Approved>,
    /// W3C trace context, passed through.
    pub traceparent: Option<String>,
}

impl Operation {
    /// Whether it is a dry run, by the field's name of now or of before.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run || self.check
    }

    /// The identity of this attempt.
    #[must_use]
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId { operation: self.id, attempt: self.attempt }
    }
}

/// A plan that a dry run has made and somebody has approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Approved {
    /// The dry run.
    pub operation: OperationId,
    /// Which try at it.
    pub attempt: Attempt,
    /// SHA-256 of the role's files at that time, in hex.
    pub digest: String,
    /// What plug-ins said that their plans depend on, by the Tasks' numbers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<u32, PlanHash>,
}

/// The Tasks that earlier attempts at an Operation have finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {
    /// SHA-256 of the role's files at that time, in hex. With other ones every Task runs again.
    pub digest: String,
    /// By number.
    pub tasks: Vec<DoneTask>,
}

/// A Task that an earlier attempt has finished.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoneTask {
    /// The Task's number.
    pub task: u32,
    /// In which attempt.
    pub attempt: Attempt,
    /// What it handed over; secrets are sealed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<DocumentName, Value>,
}

/// Anything that the frontend knows by kind and id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Entity {
    /// `site`, `platform`, `host`, or what the frontend calls it.
    pub kind: Kind,
    /// The frontend's id of it.
    pub id: TargetId,
}

/// The entity that an Operation is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// `site`, `platform`, `host`, or what a manifest names.
    pub kind: Kind,
    /// The frontend's id of it.
    pub id: TargetId,
    /// What people call it.
    pub name: TargetName,
}

/// A minion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// What the frontend calls it.
    pub name: HostName,
    /// Where it is; its name when absent.
    pub address: Option<Address>,
    /// The port of its sshd; 22 when absent.
    pub port: Option<u16>,
    /// The login; dispatcherd's own setting when absent.
    pub user: Option<UserName>,
    /// Whether all that Ansible does there is done as root, by sudo without a password. Otherwise it is for roles to say.
    #[serde(default, rename = "become")]
    pub becomes_root: bool,
    /// Its public host keys, each `TYPE BASE64`. When there are any, no other key is believed; when there are
    /// none, only keys that an operator of the backend has trusted with `dispatcherd minion add`.
    #[serde(default)]
    pub host_keys: Vec<HostKey>,
    /// What it offers, with the settings of each.
    #[serde(default)]
    #[schemars(extend("propertyNames" = serde_json::json!({ "maxLength": 63 })))]
    pub services: BTreeMap<ServiceName, BTreeMap<VariableName, Value>>,
}

impl Host {
    /// A host that is known by nothing but its name.
    #[must_use]
    pub fn named(name: HostName) -> Self {
        Self {
            name,
            address: None,
            port: None,
            user: None,
            becomes_root: false,
            host_keys: Vec::new(),
            services: BTreeMap::new(),
        }
    }

    /// The port of its sshd.
    #[must_use]
    pub fn ssh_port(&self) -> u16 {
        self.port.unwrap_or(22)
    }

    /// Where it is reached.
    #[must_use]
    pub fn ssh_address(&self) -> &str {
        self.address.as_ref().map_or(self.name.as_str(), Address::as_str)
    }
}

/// A public host key: `ssh-ed25519 AAAA…`, without host name. A comment behind it is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend(
    "pattern" = r"^[ \t\r\f]*[A-Za-z][A-Za-z0-9@.-]*[ \t\r\f]+[A-Za-z0-9+/=]+([ \t\r\f][^\n]*)?$",
    "maxLength" = 16384
))]
pub struct HostKey(String);

impl HostKey {
    /// `TYPE BASE64`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not a host key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a host key: `TYPE BASE64` is expected, as in a .pub file of /etc/ssh without its comment")]
pub struct InvalidHostKey;

impl TryFrom<String> for HostKey {
    type Error = InvalidHostKey;

    fn try_from(text: String) -> Result<Self, InvalidHostKey> {
        let mut words = text.split_ascii_whitespace();
        let (Some(kind), Some(key)) = (words.next(), words.next()) else { return Err(InvalidHostKey) };
        let kind_is_plain = kind.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '@'));
        let key_is_base64 = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
        let starts_plain = kind.starts_with(|c: char| c.is_ascii_alphabetic());
        if kind_is_plain
            && key_is_base64
            && starts_plain
            && text.chars().count() <= 16 * 1024
            && !text.contains('\n')
        {
            Ok(Self(format!("{kind} {key}")))
        } else {
            Err(InvalidHostKey)
        }
    }
}

impl From<HostKey> for String {
    fn from(key: HostKey) -> Self {
        key.0
    }
}

/// Values by scope, then by name. Scopes are data: `site`, `platform`, `operation`, `hosts.web1`,
/// `services.nginx`, `tasks.codebase`, or whatever a manifest names. A value is any JSON, or
/// `{"sealed": "…"}` for a secret.
pub type Variables = BTreeMap<String, BTreeMap<String, Value>>;

/// The scope that a request's own values have when it names none; it outranks the scopes of entities.
pub const OPERATION_SCOPE: &str = "operation";

/// The ciphertext of a value that is sealed for its backend (an age file, base64), if it is one.
#[must_use]
pub fn sealed(value: &Value) -> Option<&str> {
    match value.as_object() {
        Some(object) if object.len() == 1 => object.get("sealed")?.as_str(),
        Some(_) | None => None,
    }
}

/// What an Operation holds while it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Lock {
    /// The kind of the thing that is locked.
    pub kind: Kind,
    pub id: TargetId,
    /// Alone, or with others that only share it.
    pub mode: LockMode,
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Beside others that share it.
    Shared,
    /// Alone.
    Exclusive,
}
