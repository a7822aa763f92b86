//! Backends and their nodes: what they can do, whether they are alive, pauses.

use std::sync::Arc;

use aegir_catalog::Catalog;
use aegir_protocol::message::Heartbeat;
use aegir_protocol::name::{BackendName, NodeName};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/v1/backends/{name}/pause`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    /// Who asks.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// Why, for whoever wonders.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `GET /api/v1/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendList {
    /// Every backend that has sent a catalog or is paused.
    pub backends: Vec<BackendDetail>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendDetail {
    /// Its name.
    pub name: BackendName,
    /// Set while nothing new may start there.
    pub paused: Option<Pause>,
    /// Its nodes that are alive.
    pub alive: Vec<NodeName>,
}

/// That nothing new may start on a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pause {
    /// Who asked for it.
    pub by: Option<String>,
    pub reason: Option<String>,
    /// Since when.
    pub since: Timestamp,
}

/// `GET /api/v1/catalog`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogList {
    /// One for each backend.
    pub catalogs: Vec<Arc<Catalog>>,
}

/// `GET /api/v1/nodes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeList {
    /// Every node that has been heard of since relayd started.
    pub nodes: Vec<NodeDetail>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeDetail {
    /// What it last said.
    pub heartbeat: Heartbeat,
    /// When relayd heard it.
    pub heard_at: Timestamp,
    /// Not heard of for longer than it should be.
    pub silent: bool,
}
