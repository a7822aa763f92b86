//! Which nodes are alive, as far as heartbeats tell. Kept in memory: the next heartbeat says it all again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use aegir_api::{BlockedDetail, NodeDetail};
use aegir_protocol::id::AttemptId;
use aegir_protocol::limits::SILENT_AFTER;
use aegir_protocol::message::Heartbeat;
use aegir_protocol::name::{BackendName, NodeName};
use jiff::Timestamp;
use tokio::time::Instant;

/// The most nodes that are remembered. Names come from messages, so their number must have an end.
const MAX_NODES: usize = 10_000;
/// The most attempts that are remembered as left by their nodes, while the store can't be written.
const MAX_LEFT: usize = 100_000;

/// A node that is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCapacity {
    /// How many attempts it runs at most.
    pub slots: usize,
    /// Whether it takes anything new.
    pub accepting: bool,
    /// What it says that it has and has not started.
    pub waiting: Vec<AttemptId>,
}

/// The nodes that were heard of.
pub struct Nodes {
    /// When relayd began to listen: before that nobody can have been silent.
    since: Instant,
    heard: Mutex<BTreeMap<NodeName, LastHeartbeat>>,
    /// What waited on a node and waits there no more, until it is written down that others may have it.
    left: Mutex<BTreeSet<AttemptId>>,
}

struct LastHeartbeat {
    heartbeat: Heartbeat,
    at: Timestamp,
    when: Instant,
    /// Whether what waits there counts as left, because it is silent.
    left: bool,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { since: Instant::now(), heard: Mutex::default(), left: Mutex::default() }
    }
}

impl Nodes {
    /// Takes a heartbeat. Whether the node has let go of anything: what waited there before it was closed, and others may
    /// have ([`left`](Self::left)).
    pub fn observe(&self, heartbeat: Heartbeat) -> bool {
        let mut heard = self.lock();
        if heard.len() >= MAX_NODES && !heard.contains_key(&heartbeat.node) {
            heard.retain(|_, node| node.when.elapsed() <= SILENT_AFTER);
            if heard.len() >= MAX_NODES {
                return false;
            }
        }
        let (node, accepting) = (heartbeat.node.clone(), heartbeat.accepting);
        let has: HashSet<_> = heartbeat.waiting.iter().chain(&heartbeat.running).copied().collect();
        let (at, when) = (Timestamp::now(), Instant::now());
        let before = heard.insert(node, LastHeartbeat { heartbeat, at, when, left: false });
        let waited = before.filter(|_| !accepting).map(|before| before.heartbeat.waiting).unwrap_or_default();
        self.leave(waited.into_iter().filter(|attempt| !has.contains(attempt))) > 0
    }

    /// Every node that was heard of since relayd started.
    #[must_use]
    pub fn list(&self) -> Vec<NodeDetail> {
        let detail = |node: &LastHeartbeat| NodeDetail {
            heartbeat: node.heartbeat.clone(),
            heard_at: node.at,
            silent: is_silent(node.when.elapsed()),
        };
        self.lock().values().map(detail).collect()
    }

    /// Whether a node was not heard of for longer than it should be.
    #[must_use]
    pub fn silent(&self, node: &NodeName) -> bool {
        let when = self.lock().get(node).map_or(self.since, |heard| heard.when);
        is_silent(when.elapsed())
    }

    /// Why a node that is alive holds an attempt up, if it does.
    #[must_use]
    pub fn blocked(&self, node: &NodeName, attempt: AttemptId) -> Option<BlockedDetail> {
        let heard = self.lock();
        let heard = heard.get(node).filter(|heard| !is_silent(heard.when.elapsed()))?;
        let mut blocked = heard.heartbeat.blocked.iter();
        let found =
            blocked.find(|one| (one.operation, one.attempt) == (attempt.operation, attempt.attempt))?;
        Some(BlockedDetail { node: node.clone(), since: found.since, reason: found.reason.clone() })
    }

    /// The nodes of a backend that are alive.
    #[must_use]
    pub fn alive(&self, backend: &BackendName) -> Vec<NodeName> {
        let heard = self.lock();
        let alive = heard
            .iter()
            .filter(|(_, node)| node.heartbeat.backend == *backend && !is_silent(node.when.elapsed()));
        alive.map(|(name, _)| name.clone()).collect()
    }

    /// The nodes of a backend that are alive, as far as they take Operations.
    #[must_use]
    pub fn capacities(&self, backend: &BackendName) -> Vec<NodeCapacity> {
        let heard = self.lock();
        let taker = |heartbeat: &Heartbeat| NodeCapacity {
            slots: heartbeat.slots as usize,
            accepting: heartbeat.accepting,
            waiting: heartbeat.waiting.clone(),
        };
        alive(&heard).filter(|heartbeat| heartbeat.backend == *backend).map(taker).collect()
    }

    /// The backends of which a node is alive and takes Operations.
    #[must_use]
    pub fn open_backends(&self) -> BTreeSet<BackendName> {
        open(&self.lock())
    }

    /// Every attempt that a node which is alive says that it has, waiting or running: but for what waits on a node
    /// without a free slot, while another one of its backend has nothing to do.
    #[must_use]
    pub fn attempts(&self) -> HashSet<AttemptId> {
        let heard = self.lock();
        let free: BTreeSet<_> = alive(&heard)
            .filter(|heartbeat| heartbeat.accepting && heartbeat.waiting.is_empty() && !is_full(heartbeat))
            .map(|heartbeat| &heartbeat.backend)
            .collect();
        let attempts = alive(&heard).flat_map(|heartbeat| {
            let waits_in_vain = is_full(heartbeat) && free.contains(&heartbeat.backend);
            let waiting = if waits_in_vain { &[][..] } else { &heartbeat.waiting[..] };
            waiting.iter().chain(&heartbeat.running)
        });
        attempts.copied().collect()
    }

    /// What others may have: what waited on nodes that drain, and on nodes that have fallen silent while others of their
    /// backends take Operations. It is said until it is [published again](Self::published_again), for the store may fail.
    pub fn left(&self) -> Vec<AttemptId> {
        let mut heard = self.lock();
        let open = open(&heard);
        let silent = heard.values_mut().filter(|node| {
            !node.left && is_silent(node.when.elapsed()) && open.contains(&node.heartbeat.backend)
        });
        let waiting = silent.flat_map(|node| {
            node.left = true;
            node.heartbeat.waiting.clone()
        });
        self.leave(waiting);
        self.lock_left().iter().copied().collect()
    }

    /// It is written down that others may have these.
    pub fn published_again(&self, attempts: &[AttemptId]) {
        let mut left = self.lock_left();
        for attempt in attempts {
            left.remove(attempt);
        }
    }

    /// How many of them were added.
    fn leave(&self, attempts: impl Iterator<Item = AttemptId>) -> usize {
        let mut left = self.lock_left();
        let mut count = 0;
        for attempt in attempts {
            // What has no place here is found as unclaimed, only later.
            if left.len() < MAX_LEFT && left.insert(attempt) {
                count += 1;
            }
        }
        count
    }

    fn lock_left(&self) -> std::sync::MutexGuard<'_, BTreeSet<AttemptId>> {
        // As below.
        self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeName, LastHeartbeat>> {
        // An insert is all or nothing, so a panic of another holder does no harm.
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn open(heard: &BTreeMap<NodeName, LastHeartbeat>) -> BTreeSet<BackendName> {
    let open = alive(heard).filter(|heartbeat| heartbeat.accepting);
    open.map(|heartbeat| heartbeat.backend.clone()).collect()
}

fn alive(heard: &BTreeMap<NodeName, LastHeartbeat>) -> impl Iterator<Item = &Heartbeat> {
    heard.values().filter(|node| !is_silent(node.when.elapsed())).map(|node| &node.heartbeat)
}

/// Whether every slot is taken: by what runs, or by what was granted and can't be started, for want of room perhaps.
fn is_full(heartbeat: &Heartbeat) -> bool {
    let held_up = heartbeat.blocked.iter().filter(|blocked| {
        let attempt = AttemptId { operation: blocked.operation, attempt: blocked.attempt };
        !heartbeat.running.contains(&attempt)
    });
    heartbeat.running.len() + held_up.count() >= heartbeat.slots as usize
}

fn is_silent(unheard: Duration) -> bool {
    unheard > SILENT_AFTER
}

#[cfg(test)]
pub(crate) mod tests {
    use aegir_protocol::code::Code;
    use aegir_protocol::id::{Attempt, OperationId};

    use super::*;

    pub(crate) fn heartbeat(node: &str) -> Heartbeat {
        Heartbeat {
            node: node.parse().unwrap(),
            backend: "main".parse().unwrap(),
            version: "0".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            slots: 4,
            waiting: Vec::new(),
            running: Vec::new(),
            spool_bytes: 0,
            accepting: true,
            last_outage: None,
            closed: None,
            catalog: None,
            blocked: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_silent_after_a_while_and_not_at_once() {
        let nodes = Nodes::default();
        let (a, b): (NodeName, NodeName) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert!(!nodes.silent(&a));
        tokio::time::advance(SILENT_AFTER / 2).await;
        nodes.observe(heartbeat("a"));
        tokio::time::advance(SILENT_AFTER * 3 / 4).await;
        assert!(!nodes.silent(&a), "it was heard");
        assert!(nodes.silent(&b), "it was never heard");
        assert_eq!(nodes.alive(&"main".parse().unwrap()), std::slice::from_ref(&a));
        tokio::time::advance(SILENT_AFTER).await;
        assert!(nodes.silent(&a));
        assert!(nodes.alive(&"main".parse().unwrap()).is_empty());
        assert!(nodes.list()[0].silent);
    }

    fn attempts(count: usize) -> Vec<AttemptId> {
        let one = |_| AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST };
        (0..count).map(one).collect()
    }

    #[test]
    fn what_waits_on_a_node_that_drains_is_let_go_of() {
        let nodes = Nodes::default();
        let all = attempts(3);
        nodes.observe(Heartbeat { waiting: all.clone(), ..heartbeat("a") });
        let busy = Heartbeat { waiting: all[1..].to_vec(), running: all[..1].to_vec(), ..heartbeat("a") };
        assert!(!nodes.observe(busy));
        assert_eq!(nodes.left(), []);
        let drains = Heartbeat { running: all[..2].to_vec(), accepting: false, ..heartbeat("a") };
        assert!(nodes.observe(drains.clone()));
        assert_eq!(nodes.left(), all[2..]);
        assert!(!nodes.observe(drains));
        assert_eq!(nodes.left(), all[2..], "it is said until it is written down");
        nodes.published_again(&all[2..]);
        assert_eq!(nodes.left(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_on_a_silent_node_is_left_to_others() {
        let nodes = Nodes::default();
        let all = attempts(2);
        let dead = Heartbeat { waiting: all.clone(), ..heartbeat("a") };
        nodes.observe(dead.clone());
        assert_eq!(nodes.left(), []);
        tokio::time::advance(SILENT_AFTER * 2).await;
        assert_eq!(nodes.left(), [], "there are no others");
        nodes.observe(heartbeat("b"));
        assert_eq!(nodes.left(), all);
        assert_eq!(nodes.left(), all, "it is said until it is written down");
        nodes.published_again(&all);
        assert_eq!(nodes.left(), []);
        assert_eq!(nodes.capacities(&"main".parse().unwrap()).len(), 1);
    }

    #[test]
    fn what_waits_in_vain_does_not_count_as_taken() {
        let nodes = Nodes::default();
        let all = attempts(6);
        let full = Heartbeat { waiting: all[..2].to_vec(), running: all[2..].to_vec(), ..heartbeat("a") };
        nodes.observe(full);
        assert_eq!(nodes.attempts().len(), 6);
        nodes.observe(heartbeat("b"));
        assert_eq!(nodes.attempts(), all[2..].iter().copied().collect(), "the other one has nothing to do");
        nodes.observe(Heartbeat { waiting: attempts(1), ..heartbeat("b") });
        assert_eq!(nodes.attempts().len(), 7);

        // Its slots are held by what has been granted and can't be started.
        let held_up = |attempt: &AttemptId| aegir_protocol::message::Blocked {
            operation: attempt.operation,
            attempt: attempt.attempt,
            since: Timestamp::UNIX_EPOCH,
            reason: Code::DiskFull.because("no room"),
        };
        let blocked = all[2..].iter().map(held_up).collect();
        nodes.observe(Heartbeat { waiting: all, blocked, ..heartbeat("a") });
        nodes.observe(heartbeat("b"));
        assert!(nodes.attempts().is_empty());
    }
}
