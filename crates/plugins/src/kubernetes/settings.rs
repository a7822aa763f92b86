//! What a role's manifest says under `with`.

use aegir_protocol::name::VariableName;
use serde::Deserialize;

use crate::value::ValueSource;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KubernetesSettings {
    /// A kustomize directory in the role.
    pub(super) kustomization: Option<String>,
    /// What is set in its objects, in this order.
    #[serde(default)]
    pub(super) set: Vec<Set>,
    /// Variables of which the last value that was sent holds where none is sent. Not for secrets.
    #[serde(default)]
    pub(super) record: Vec<VariableName>,
    /// How long it may take until all that was deployed is up, or all that was deleted is gone.
    #[serde(default = "default_timeout")]
    pub(super) timeout_seconds: u64,
    /// Takes fields over that something else in the cluster has set.
    #[serde(default)]
    pub(super) force_conflicts: bool,
    /// The Task changes nothing but shows logs.
    pub(super) logs: Option<Logs>,
}

fn default_timeout() -> u64 {
    300
}

/// Which logs, and how much of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Logs {
    /// `Deployment/site`.
    pub(super) of: Vec<String>,
    /// How many lines of each container, from the end.
    #[serde(default = "default_lines")]
    pub(super) lines: u32,
}

fn default_lines() -> u32 {
    200
}

/// One value in one object: `value`, or `digest_of`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Set {
    /// `Deployment/site`.
    pub(super) object: String,
    /// A JSON pointer (RFC 6901).
    pub(super) at: String,
    /// What goes there. Where there is no such value, the object stays as the role's file has it.
    pub(super) value: Option<ValueSource>,
    /// A hash of another object, `ConfigMap/settings`, goes there: in the annotations of a pod template it makes new pods when
    /// that object changes.
    pub(super) digest_of: Option<String>,
    /// An empty text is as no value: that is how a value which is recorded is taken away.
    #[serde(default)]
    pub(super) skip_empty: bool,
}

impl Set {
    /// Whether it puts this variable somewhere.
    pub(super) fn takes(&self, name: &VariableName) -> bool {
        matches!(&self.value, Some(ValueSource::Variable(taken)) if taken == name)
    }
}
