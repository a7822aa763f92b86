//! Operations: lists, one in detail, and what can be asked of one.

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::name::{BackendName, NodeName, OperationName, PlanHash};
use aegir_protocol::operation::{Host, Lock, Target, Variables};
use aegir_protocol::state::{Outcome, Reason, State};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backends::Pause;

/// `GET /api/v1/operations`: newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationList {
    /// One page.
    pub operations: Vec<OperationSummary>,
    /// What to send as `before` for the next page; absent on the last.
    pub next: Option<OperationId>,
}

/// An Operation in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = with_both_names)]
pub struct OperationSummary {
    pub id: OperationId,
    /// What it does.
    pub name: OperationName,
    /// To what.
    pub target: Target,
    pub backend: BackendName,
    /// Where it stands.
    pub state: State,
    /// Its node has not been heard of for a while. Not an end.
    pub silent: bool,
    /// Set while its children wait until its node has room for what they print. Not an end.
    pub blocked: Option<BlockedDetail>,
    /// Why it is where it is.
    pub reason: Option<Reason>,
    /// The attempt that it is at.
    pub attempt: Attempt,
    /// A dry run.
    #[serde(default)]
    pub dry_run: bool,
    /// What `dry_run` was called before, for clients of the version before.
    #[serde(default)]
    #[schemars(extend("deprecated" = true))]
    pub check: bool,
    /// Who asked.
    pub requested_by: Option<String>,
    pub requested_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// Counts its state changes; of two answers the one with the higher revision is newer.
    pub revision: u64,
    /// Whether canceling was asked for.
    pub cancel_requested: bool,
}

/// relayd always writes both: no client is to fill in a default where an older relayd has said `check` alone.
fn with_both_names(schema: &mut Schema) {
    for name in ["dry_run", "check"] {
        if let Some(Value::Object(property)) = schema.get_mut("properties").and_then(|all| all.get_mut(name))
        {
            property.remove("default");
        }
        if let Some(Value::Array(required)) = schema.get_mut("required") {
            required.push(name.into());
        }
    }
}

impl OperationSummary {
    /// Whether it is a dry run, by the field's name of now or of before.
    #[must_use]
    pub fn is_dry_run(&self) -> bool {
        self.dry_run || self.check
    }
}

/// That what an Operation prints has no room on its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlockedDetail {
    pub node: NodeName,
    /// Since when, by the node's clock.
    pub since: Timestamp,
    /// `disk_full` or `spool_full`, and what to do about it.
    pub reason: Reason,
}

/// `GET /api/v1/operations/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OperationDetail {
    /// As in the list.
    pub summary: OperationSummary,
    /// The minions.
    pub hosts: Vec<Host>,
    /// The values; secrets are sealed.
    pub variables: Variables,
    /// What it holds, or waits for.
    pub locks: Vec<Lock>,
    /// 0 (lowest) to 9.
    pub priority: u8,
    /// How long an attempt may take, in seconds.
    pub timeout_seconds: Option<u64>,
    /// The Operations that it waits for.
    pub waits_for: Vec<OperationId>,
    /// Whether the broker has confirmed it.
    pub published: bool,
    /// Set while its backend is paused: what has not started there does not start.
    pub paused: Option<Pause>,
    /// Of a dry run that has succeeded: the hash of what it has planned, which can be approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanHash>,
    /// The dry run whose plan this carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approves: Option<OperationId>,
    /// Each try.
    pub attempts: Vec<AttemptDetail>,
    /// Each change of state, oldest first.
    pub ledger: Vec<LedgerEntry>,
}

/// One try at an Operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptDetail {
    /// Which try.
    pub attempt: Attempt,
    /// Who has claimed it.
    pub node: Option<NodeName>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    pub reason: Option<Reason>,
    /// SHA-256 of the files of the role that it ran, in hex, as in the catalog of that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When its runner started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Bytes of its transcript that are stored.
    pub transcript_bytes: u64,
    /// Records of its transcript that are stored.
    pub transcript_records: u64,
    /// Whether the transcript has its `finished` record and its digest matches.
    pub transcript_complete: bool,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// Counts the changes of this Operation, from 1.
    pub revision: u64,
    /// At which attempt.
    pub attempt: Attempt,
    /// The new state.
    pub state: State,
    pub reason: Option<Reason>,
    /// Who said so: `frontend`, `relayd`, a node's name.
    pub source: String,
    /// When relayd wrote it.
    pub at: Timestamp,
}

/// The body of `POST /api/v1/operations/{id}/cancel` and `/lost`, and of a document's `/refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionRequest {
    /// Who asks.
    #[serde(default)]
    pub requested_by: Option<String>,
}

/// The body of `POST /api/v1/operations/{id}/approve`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Who approves.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// The hash of the plan that was looked at; another plan is not run.
    #[serde(default)]
    pub plan: Option<PlanHash>,
}

/// The body of `POST /api/v1/operations/{id}/retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Who asks.
    #[serde(default)]
    pub requested_by: Option<String>,
    /// Runs the Tasks that earlier attempts have finished once more, too.
    #[serde(default)]
    pub from_start: bool,
}
