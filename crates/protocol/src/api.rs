//! The bodies of relayd's HTTP API. The paths are listed in `docs/reference/http-api.md`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::catalog::Catalog;
use crate::id::{Attempt, OperationId};
use crate::message::Heartbeat;
use crate::name::{BackendName, DocumentName, NodeName, OperationName, PlanHash};
use crate::operation::{Host, Lock, Target, Variables};
pub use crate::problem::{FieldProblem, Problem, pointer_token};
use crate::state::{Outcome, Reason, State};

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

/// `GET /api/v1/catalog`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogList {
    /// One for each backend.
    pub catalogs: Vec<Catalog>,
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

/// The answer to `POST /api/v1/sign-in-links`: a path with a code that works once, for ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInLink {
    /// `/sign-in?code=…`.
    pub path: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}
