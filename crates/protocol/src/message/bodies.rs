//! What the messages say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::id::{Attempt, AttemptId, OperationId};
use crate::name::{BackendName, FrontendName, NodeName};
use crate::state::{Outcome, Reason};

/// A node asks whether it may start an attempt that it has journaled; or, having started it, for more time: the
/// claim of who holds the attempt is granted again, and with it the lease begins anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Who asks. The answer goes to this node's control queue.
    pub node: NodeName,
    /// When it asks. Comes back in the grant's lease and means nothing to anybody else.
    pub asked_at: BootTime,
}

/// relayd's answer to a claim. The first claim of an attempt is granted, and again to the same node; every
/// other is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Whether the node may start it.
    pub granted: bool,
    pub reason: Option<Reason>,
    /// Until when it may work, if the Operation has a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
}

/// How long an attempt may go on without asking again. It counts from the moment at which its node asked, by
/// the node's own clock, so that it ends before relayd, which counts from its answer, gives the attempt up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// As in the claim.
    pub asked_at: BootTime,
    pub seconds: u64,
}

impl Lease {
    /// When it ends.
    #[must_use]
    pub fn ends_at(self) -> BootTime {
        let milliseconds = self.seconds.saturating_mul(1000).saturating_add(self.asked_at.milliseconds);
        BootTime { milliseconds, ..self.asked_at }
    }
}

/// A moment on a node's CLOCK_BOOTTIME, which goes on while the machine is suspended and which nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootTime {
    /// Of which boot (`/proc/sys/kernel/random/boot_id`): moments of two boots can't be compared.
    pub boot: Uuid,
    /// Since then.
    pub milliseconds: u64,
}

/// The header of a piece of a transcript.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Who sends it; receipts go there.
    pub node: NodeName,
    /// Where in the transcript the payload starts. A payload holds whole records.
    pub offset: u64,
    /// How many bytes the payload has.
    pub length: u32,
    /// The payload's CRC-32C (RFC 3720, appendix B.4).
    pub crc32c: u32,
}

/// How much of a transcript relayd has committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Every byte before this offset is committed.
    pub offset: u64,
    /// Whether that includes the `finished` record, so that the node may let its copy go.
    pub complete: bool,
}

/// relayd misses bytes: the node is to send again from an offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// From where.
    pub offset: u64,
}

/// relayd has no such attempt: the node is to stop sending its transcript, and to keep it for its operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Why, in a sentence for the node's operator.
    pub reason: Reason,
}

/// The node is to call an attempt off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancel {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Who asked.
    pub requested_by: Option<String>,
}

/// The end of an attempt that has no `finished` record: rejected before it ran, or its runner is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Who says so.
    pub node: NodeName,
    /// `rejected`, `lost` or `canceled` (a journaled attempt that was called off before it started).
    pub outcome: Outcome,
    pub reason: Reason,
}

/// relayd has another catalog of a backend than its nodes, or none: the node is to send its own again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CatalogWanted {
    /// Of which backend.
    pub backend: BackendName,
}

/// A question that is answered at once, to see that the way there and back is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Echo {
    /// Tells one question from another.
    pub id: Uuid,
    /// Who asks; the answer goes to this frontend's transcripts queue.
    pub frontend: FrontendName,
}

/// The answer to an [`Echo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Echoed {
    /// The question's id.
    pub id: Uuid,
    /// Who answers.
    pub node: NodeName,
}

/// A node is alive, and what it has. The only message that may get lost: the next one says it all again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    pub node: NodeName,
    /// Of which backend.
    pub backend: BackendName,
    /// dispatcherd's version.
    pub version: String,
    /// When, by the node's clock. For people; nothing is decided by it.
    pub at: Timestamp,
    /// How many attempts it runs at most.
    pub slots: u32,
    /// Attempts that are journaled and not started.
    pub waiting: Vec<AttemptId>,
    /// Attempts whose runner is alive.
    pub running: Vec<AttemptId>,
    /// Bytes of transcripts that relayd has not receipted.
    pub spool_bytes: u64,
    /// Whether it takes new Operations.
    pub accepting: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Reason>,
    /// The digest of its catalog, so that relayd can ask for what it does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// Attempts that run and whose children wait until there is room for what they print.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<Blocked>,
    /// What was last the matter between it and the broker since it started, for people. While that lasts nobody hears
    /// of it, so it is told afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_outage: Option<String>,
}

/// An attempt that runs and whose children wait until there is room for what they print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    /// Which Operation.
    pub operation: OperationId,
    pub attempt: Attempt,
    /// Since when, by the node's clock. For people; nothing is decided by it.
    pub since: Timestamp,
    /// `disk_full` or `spool_full`, and what to do about it.
    pub reason: Reason,
}

/// What a backend can do, with its roles as they came: of those a newer version may understand more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogMessage {
    pub backend: BackendName,
    pub node: NodeName,
    pub recipient: String,
    pub digest: String,
    pub roles: BTreeMap<String, Value>,
    pub left_out: BTreeMap<String, Vec<String>>,
}
