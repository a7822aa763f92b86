//! Whether the way from the API to a minion is open.

use aegir_protocol::name::BackendName;
use aegir_protocol::operation::Host;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/v1/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Which backend; relayd's default when absent.
    #[serde(default)]
    pub backend: Option<BackendName>,
    /// Minions to verify besides.
    #[serde(default)]
    pub hosts: Vec<Host>,
}

/// The answer: a verdict for each hop, in the order of the way. After the first failure the rest is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckReport {
    /// Whether every hop is open.
    pub ok: bool,
    /// One for each.
    pub hops: Vec<Hop>,
}

/// One hop of the way from the API to a minion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hop {
    /// `store`, `broker`, `dispatcherd NODE`, `round trip`, `minion NAME`.
    pub name: String,
    /// Open or not.
    pub ok: bool,
    /// How long it took.
    pub milliseconds: u64,
    /// What was seen, or what is wrong and what to do.
    pub message: String,
}
