//! The documents of a target.

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::name::{DocumentName, OperationName};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `GET /api/v1/targets/{kind}/{id}/documents`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentList {
    /// By name.
    pub documents: Vec<DocumentDetail>,
}

/// The latest value of a document of a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DocumentDetail {
    /// Which document.
    pub name: DocumentName,
    /// The value.
    pub value: Value,
    /// SHA-256 of the value as its record has it, in hex: the same for the same value.
    pub sha256: String,
    /// The Operation that handed it over.
    pub operation: OperationId,
    /// What that does.
    pub operation_name: OperationName,
    /// At which attempt.
    pub attempt: Attempt,
    /// When, by the node's clock.
    pub produced_at: Timestamp,
    /// Until when it is to be believed; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_until: Option<Timestamp>,
    /// Whether that time is over.
    #[serde(default)]
    pub stale: bool,
}
