//! What a frontend submits.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::id::{Attempt, OperationId};
use crate::name::{BackendName, Kind, OperationName, TargetId, TargetName};
use crate::operation::{Host, Lock};
use crate::problem::Problem;
use crate::state::State;

/// A request for an Operation: the body of `POST /api/v1/operations` and of a message to
/// `aegir.requests.<frontend>`.
///
/// Unknown fields are refused at every level: a misspelt `varables` must not deploy something else, and a misspelt
/// `host_keys` of a host must not trust another key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = with_former_name)]
pub struct Request {
    /// What to do: `static_site.deploy`.
    pub name: OperationName,
    /// What it is about.
    pub target: RequestTarget,
    /// Who is to carry it out; relayd's configured default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendName>,
    /// The minions that it may use.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub hosts: Vec<Host>,
    /// Values by scope, then by name. `{"secret": "plain"}` is sealed for the backend before it is stored, and is
    /// refused in a request by AMQP; `{"sealed": "…"}` is passed on as it is.
    #[serde(default)]
    pub variables: BTreeMap<String, BTreeMap<String, Value>>,
    /// Locks beside those that the target, the hosts and the manifest bring.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub locks: Vec<Lock>,
    /// Which person or program asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"))]
    pub requested_by: Option<String>,
    /// 0 (lowest, and the default) to 9.
    #[serde(default)]
    #[schemars(range(max = 9))]
    pub priority: u8,
    /// A dry run: say what would change and change nothing.
    // `check` is its former name, read for this one version. Left out where it is false: a relayd of the version before
    // refuses what it does not know.
    #[serde(default, alias = "check", skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// How long an attempt may take, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub timeout_seconds: Option<u64>,
    /// The same key with the same request gives the same Operation, however often it is sent. By HTTP it is
    /// the header `Idempotency-Key`; here it is for AMQP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"))]
    pub idempotency_key: Option<String>,
    /// W3C trace context, passed through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255), regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$"))]
    pub traceparent: Option<String>,
}

/// Lists `check` too.
fn with_former_name(schema: &mut Schema) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let former = json!({ "type": "boolean", "deprecated": true, "description": "What `dry_run` was called before; not beside it." });
        properties.insert("check".to_owned(), former);
    }
}

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestTarget {
    /// `site`, `platform`, `host`, or what a manifest names.
    pub kind: Kind,
    /// The frontend's id of it; its name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<TargetId>,
    /// What people call it.
    pub name: TargetName,
}

/// The plain text of a value that a request marks as secret, if it does.
#[must_use]
pub fn secret(value: &Value) -> Option<&str> {
    match value.as_object() {
        Some(object) if object.len() == 1 => object.get("secret")?.as_str(),
        Some(_) | None => None,
    }
}

/// What became of a request: the body of a 201, and inside a [`Reply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accepted {
    /// The Operation that was made, or that the idempotency key already stood for.
    pub id: OperationId,
    /// The attempt that it is at.
    pub attempt: Attempt,
    /// Where it stands.
    pub state: State,
    /// Whether the broker has it already. If not, relayd publishes it as soon as locks and broker allow.
    pub published: bool,
    /// Whether the idempotency key was known, so that nothing new was made.
    pub repeated: bool,
}

/// The answer to a request that came by AMQP, sent to its `reply_to`. One of the two fields is set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reply {
    /// The Operation that was made.
    pub accepted: Option<Accepted>,
    /// Why there is none.
    pub problem: Option<Problem>,
}
