//! Which nodes are alive, as far as heartbeats tell. Kept in memory: the next heartbeat says it all again.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use aegir_protocol::api::{Blocked, NodeDetail};
use aegir_protocol::id::AttemptId;
use aegir_protocol::limits::SILENT_AFTER;
use aegir_protocol::message::Heartbeat;
use aegir_protocol::name::{BackendName, NodeName};
use jiff::Timestamp;
use tokio::time::Instant;

/// The most nodes that are remembered. Names come from messages, so their number must have an end.
const MAX_NODES: usize = 10_000;

/// The nodes that were heard of.
pub struct Nodes {
    /// When relayd began to listen: before that nobody can have been silent.
    since: Instant,
    heard: Mutex<BTreeMap<NodeName, Heard>>,
}

struct Heard {
    heartbeat: Heartbeat,
    at: Timestamp,
    when: Instant,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { since: Instant::now(), heard: Mutex::new(BTreeMap::new()) }
    }
}

impl Nodes {
    /// Takes a heartbeat.
    pub fn hear(&self, heartbeat: Heartbeat) {
        let mut heard = self.lock();
        if heard.len() >= MAX_NODES && !heard.contains_key(&heartbeat.node) {
            heard.retain(|_, node| node.when.elapsed() <= SILENT_AFTER);
            if heard.len() >= MAX_NODES {
                return;
            }
        }
        let node = heartbeat.node.clone();
        heard.insert(node, Heard { heartbeat, at: Timestamp::now(), when: Instant::now() });
    }

    /// Every node that was heard of since relayd started.
    #[must_use]
    pub fn list(&self) -> Vec<NodeDetail> {
        let detail = |node: &Heard| NodeDetail {
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
    pub fn blocked(&self, node: &NodeName, attempt: AttemptId) -> Option<Blocked> {
        let heard = self.lock();
        let heard = heard.get(node).filter(|heard| !is_silent(heard.when.elapsed()))?;
        let mut blocked = heard.heartbeat.blocked.iter();
        let found =
            blocked.find(|one| (one.operation, one.attempt) == (attempt.operation, attempt.attempt))?;
        Some(Blocked { node: node.clone(), since: found.since, reason: found.reason.clone() })
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

    /// The backends of which a node is alive and has nothing to do, so that nothing can wait in their queues.
    #[must_use]
    pub fn idle_backends(&self) -> BTreeSet<BackendName> {
        let heard = self.lock();
        let idle = heard.values().filter(|node| {
            let heartbeat = &node.heartbeat;
            !is_silent(node.when.elapsed())
                && heartbeat.accepting
                && heartbeat.waiting.is_empty()
                && heartbeat.running.len() < heartbeat.slots as usize
        });
        idle.map(|node| node.heartbeat.backend.clone()).collect()
    }

    /// Every attempt that a node which is alive says that it has, waiting or running.
    #[must_use]
    pub fn attempts(&self) -> HashSet<AttemptId> {
        let heard = self.lock();
        let alive = heard.values().filter(|node| !is_silent(node.when.elapsed()));
        alive.flat_map(|node| node.heartbeat.waiting.iter().chain(&node.heartbeat.running)).copied().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<NodeName, Heard>> {
        // An insert is all or nothing, so a panic of another holder does no harm.
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn is_silent(unheard: Duration) -> bool {
    unheard > SILENT_AFTER
}

#[cfg(test)]
pub(crate) mod tests {
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
        nodes.hear(heartbeat("a"));
        tokio::time::advance(SILENT_AFTER * 3 / 4).await;
        assert!(!nodes.silent(&a), "it was heard");
        assert!(nodes.silent(&b), "it was never heard");
        assert_eq!(nodes.alive(&"main".parse().unwrap()), std::slice::from_ref(&a));
        tokio::time::advance(SILENT_AFTER).await;
        assert!(nodes.silent(&a));
        assert!(nodes.alive(&"main".parse().unwrap()).is_empty());
        assert!(nodes.list()[0].silent);
    }
}
