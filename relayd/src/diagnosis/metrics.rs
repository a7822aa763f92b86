//! What relayd counts.

use aegir_amqp::Status;
use aegir_api::NodeDetail;
use aegir_protocol::state::State;
use aegir_service::metrics::Metrics;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::nodes::Nodes;
use crate::store::{Counters, Store, StoreError};

type Labels = Vec<(&'static str, &'static str)>;
type NodeLabels = [(&'static str, String); 2];

/// A figure of a node: name, help, value.
type NodeFigure = (&'static str, &'static str, fn(&NodeDetail) -> u64);

/// What is told of each node, from its last heartbeat.
const NODE_FIGURES: &[NodeFigure] = &[
    ("node_up", "Whether the node was heard of lately", |node| u64::from(!node.silent)),
    ("node_accepting", "Whether the node takes new Operations", |node| u64::from(node.heartbeat.accepting)),
    ("node_slots", "How many attempts the node runs at most", |node| node.heartbeat.slots.into()),
    ("node_waiting", "Attempts that are not started", |node| node.heartbeat.waiting.len() as u64),
    ("node_running", "Attempts whose runner is alive", |node| node.heartbeat.running.len() as u64),
    ("node_blocked", "Attempts that wait for room", |node| node.heartbeat.blocked.len() as u64),
    ("node_spool_bytes", "Bytes of transcripts that relayd has not receipted", |node| {
        node.heartbeat.spool_bytes
    }),
];

/// What relayd counts.
pub struct RelayMetrics {
    metrics: Metrics,
    operations: Family<Labels, Gauge>,
    nodes: Family<Labels, Gauge>,
    node_figures: Vec<Family<NodeLabels, Gauge>>,
    broker_up: Gauge,
    broker_status: Family<Labels, Gauge>,
    dead_letters: Gauge,
    dead_letter_bytes: Gauge,
    dead_letters_full: Gauge,
}

impl RelayMetrics {
    /// All at zero.
    #[must_use]
    pub fn new(counters: &Counters) -> Self {
        let mut metrics = Metrics::new("relayd");
        let (operations, nodes) = (Family::<Labels, Gauge>::default(), Family::<Labels, Gauge>::default());
        let (broker_up, broker_status) = (Gauge::default(), Family::<Labels, Gauge>::default());
        metrics.register("operations", "Operations by state", operations.clone());
        metrics.register("nodes", "Nodes that were heard of since the start", nodes.clone());
        let node_figures = NODE_FIGURES.iter().map(|(name, help, _)| {
            let family = Family::<NodeLabels, Gauge>::default();
            metrics.register(name, help, family.clone());
            family
        });
        let node_figures = node_figures.collect();
        metrics.register("broker_up", "Whether the broker takes and delivers messages", broker_up.clone());
        metrics.register("broker_status", "1 for how it stands with the broker", broker_status.clone());
        let [dead_letters, dead_letter_bytes, dead_letters_full] = std::array::from_fn(|_| Gauge::default());
        metrics.register("dead_letters", "Dead letters that are kept", dead_letters.clone());
        metrics.register(
            "dead_letter_bytes",
            "Bytes of dead letters that are kept",
            dead_letter_bytes.clone(),
        );
        metrics.register(
            "dead_letters_full",
            "Whether no more dead letters are kept, so that the rest stays in the queue",
            dead_letters_full.clone(),
        );
        metrics.register("store_commits", "Transactions committed", counters.commits.clone());
        metrics.register("store_failures", "Transactions that failed", counters.failures.clone());
        metrics.register("transcript_bytes", "Transcript bytes stored", counters.transcript_bytes.clone());
        Self {
            metrics,
            operations,
            nodes,
            node_figures,
            broker_up,
            broker_status,
            dead_letters,
            dead_letter_bytes,
            dead_letters_full,
        }
    }

    /// All of it in the OpenMetrics text format, as the store, the nodes and the broker stand.
    pub(super) async fn encode(
        &self,
        store: &Store,
        nodes: &Nodes,
        broker: &Status,
    ) -> Result<String, StoreError> {
        let counts = store.count_by_state().await?;
        for state in State::ALL {
            let count = counts.get(state).copied().unwrap_or(0);
            let gauge = self.operations.get_or_create(&vec![("state", state.as_str())]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let nodes = nodes.list();
        for (silent, word) in [(false, "alive"), (true, "silent")] {
            let count = nodes.iter().filter(|node| node.silent == silent).count();
            let gauge = self.nodes.get_or_create(&vec![("state", word)]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        for (family, (_, _, value)) in self.node_figures.iter().zip(NODE_FIGURES) {
            family.clear();
            for node in &nodes {
                let labels = [
                    ("backend", node.heartbeat.backend.to_string()),
                    ("node", node.heartbeat.node.to_string()),
                ];
                family.get_or_create(&labels).set(i64::try_from(value(node)).unwrap_or(i64::MAX));
            }
        }
        let kept = store.dead_letters_kept().await?;
        self.dead_letters.set(i64::try_from(kept.count).unwrap_or(i64::MAX));
        self.dead_letter_bytes.set(i64::try_from(kept.bytes).unwrap_or(i64::MAX));
        self.dead_letters_full.set(i64::from(kept.full));
        self.broker_up.set(i64::from(matches!(broker, Status::Up)));
        for word in Status::WORDS {
            let gauge = self.broker_status.get_or_create(&vec![("status", word)]);
            gauge.set(i64::from(word == broker.word()));
        }
        Ok(self.metrics.encode())
    }
}
