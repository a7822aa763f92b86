//! What a commit leads to, outside the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aegir_catalog::Catalog;
use aegir_protocol::id::{AttemptId, OperationId};
use aegir_protocol::message::{Receipt, ToNode};
use aegir_protocol::name::NodeName;

use crate::ledger::LedgerEvent;

/// What a commit leads to. Done after it, and only if it succeeds.
#[derive(Debug, Default)]
pub struct CommitEffects {
    /// Whether there may be something to publish, or room for it.
    pub publish: bool,
    /// What nodes are to be told, in order.
    pub messages: Vec<(NodeName, ToNode)>,
    /// How much of each transcript is stored by now: one for each attempt, however many chunks came.
    pub receipts: BTreeMap<AttemptId, (NodeName, Receipt)>,
    /// The Operations of which anything is new.
    pub changed: BTreeSet<OperationId>,
    /// Catalogs that replace earlier ones.
    pub catalogs: Vec<Arc<Catalog>>,
    /// What is going to happen to attempts if nothing else happens before, and how long from now.
    pub deadlines: Vec<(AttemptId, Duration, LedgerEvent)>,
}

/// Takes what commits lead to. Called from the writer, so it must not wait for anything.
pub trait AfterCommit: Send + Sync + 'static {
    /// A commit has succeeded.
    fn committed(&self, effects: CommitEffects);
}
