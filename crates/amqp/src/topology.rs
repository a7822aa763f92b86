//! What a frontend and a node declare on the broker, as data.
//!
//! Everybody declares what they publish to as well as what they consume, so that a message is routable before
//! its reader first came up. Declaring is idempotent as long as the arguments agree; where they do not, the
//! broker answers 406 and the session reports a mismatch.
//!
//! The arguments hold on RabbitMQ 3.10 to 4.x.

use std::collections::BTreeMap;
use std::fmt;

use aegir_protocol::limits::TRANSCRIPT_QUEUE_BYTES;
use aegir_protocol::name::{BackendName, FrontendName, NodeName};

/// Submissions by AMQP; the routing key is the frontend.
pub const REQUESTS: &str = "aegir.requests";
/// Operations, from relayd only; the routing key is the backend.
pub const OPERATIONS: &str = "aegir.operations";
/// Chunks, claims, catalogs and reports; the routing key is the frontend.
pub const TRANSCRIPTS: &str = "aegir.transcripts";
/// Grants, receipts, replays and cancels; the routing key is the node.
pub const CONTROL: &str = "aegir.control";
/// Heartbeats, sent without `mandatory`; the routing key is the frontend.
pub const STATUS: &str = "aegir.status";
/// What could not be handled; both the exchange and its queue.
pub const DEAD: &str = "aegir.dead";
/// The queue of letters that end every session that they are delivered to. The broker moves them there from
/// [`DEAD`]; nobody consumes it.
pub const UNREADABLE: &str = "aegir.unreadable";

/// How often the broker delivers a message before it moves it to [`DEAD`] by itself. RabbitMQ 4 would do so, or
/// drop the message, after 20; ours settle every message themselves, and this only ends what no reader survives.
pub const DELIVERY_LIMIT: i64 = 100;
/// How long the control queue of a node stays when nobody uses it: 30 days, in milliseconds.
const CONTROL_EXPIRES: i64 = 30 * 24 * 60 * 60 * 1000;

/// The queue with a frontend's submissions by AMQP.
#[must_use]
pub fn requests_queue(frontend: &FrontendName) -> String {
    format!("{REQUESTS}.{frontend}")
}

/// The queue with a backend's Operations.
#[must_use]
pub fn operations_queue(backend: &BackendName) -> String {
    format!("{OPERATIONS}.{backend}")
}

/// The queue with what the nodes tell a frontend.
#[must_use]
pub fn transcripts_queue(frontend: &FrontendName) -> String {
    format!("{TRANSCRIPTS}.{frontend}")
}

/// The queue with what frontends tell a node.
#[must_use]
pub fn control_queue(node: &NodeName) -> String {
    format!("{CONTROL}.{node}")
}

/// The queue with the heartbeats for one relayd. This is the name to consume by; on the broker it has a unique
/// ending for each session.
#[must_use]
pub fn status_queue(frontend: &FrontendName) -> String {
    format!("{STATUS}.{frontend}")
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routing {
    /// To the queues that are bound with the message's routing key.
    Direct,
    /// To every bound queue.
    Fanout,
}

/// How long a queue stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It is replicated and survives the broker's restarts: a quorum queue.
    Durable,
    /// It belongs to one session, under a name of its own, and goes when that session ends.
    Session,
}

/// The value of a queue's argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueArgument {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// A durable exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// How it routes.
    pub routing: Routing,
}

/// A queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name; for [`Lifetime::Session`] the part before the unique ending.
    pub name: String,
    /// How long it stays.
    pub lifetime: Lifetime,
    /// Its arguments, in order of their names.
    pub arguments: BTreeMap<String, QueueArgument>,
}

/// Which messages of an exchange a queue takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// From where.
    pub exchange: String,
    /// To where.
    pub queue: String,
    pub routing_key: String,
}

/// What is to be declared, in this order: exchanges, queues, bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// The exchanges.
    pub exchanges: Vec<Exchange>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// The bindings.
    pub bindings: Vec<Binding>,
}

impl Topology {
    /// All exchanges, the dead-letter queue and the one behind it: what everybody declares.
    #[must_use]
    pub fn base() -> Self {
        let direct = |name: &str| Exchange { name: name.to_owned(), routing: Routing::Direct };
        let mut exchanges: Vec<_> = [REQUESTS, OPERATIONS, TRANSCRIPTS, CONTROL, STATUS].map(direct).into();
        exchanges.push(Exchange { name: DEAD.to_owned(), routing: Routing::Fanout });
        let mut topology = Self { exchanges, ..Self::default() };
        let arguments = [
            ("x-delivery-limit", QueueArgument::Number(DELIVERY_LIMIT)),
            // By the default exchange, which every queue is bound to by its name.
            ("x-dead-letter-exchange", QueueArgument::Text(String::new())),
            ("x-dead-letter-routing-key", QueueArgument::Text(UNREADABLE.to_owned())),
        ];
        topology.queue(DEAD, "", quorum(DEAD.to_owned(), arguments));
        extend(&mut topology.queues, vec![quorum(UNREADABLE.to_owned(), [])]);
        topology
    }

    /// What a relayd declares. The queues of backends follow as it learns of them, with
    /// [`of_backend`](Self::of_backend).
    #[must_use]
    pub fn of_frontend(frontend: &FrontendName) -> Self {
        let mut topology = Self::base();
        topology.queue(REQUESTS, frontend.as_str(), letters(requests_queue(frontend)));
        topology.queue(TRANSCRIPTS, frontend.as_str(), transcripts(frontend));
        let status =
            Queue { name: status_queue(frontend), lifetime: Lifetime::Session, arguments: BTreeMap::new() };
        topology.queue(STATUS, frontend.as_str(), status);
        topology
    }

    /// The queue of a backend, so that Operations for it are kept from before its first dispatcherd.
    #[must_use]
    pub fn of_backend(backend: &BackendName) -> Self {
        let mut topology = Self::base();
        topology.queue(OPERATIONS, backend.as_str(), letters(operations_queue(backend)));
        topology
    }

    /// What a dispatcherd declares: its backend's queue, its own control queue, and the queues of the frontends
    /// that it works for.
    #[must_use]
    pub fn of_node(backend: &BackendName, node: &NodeName, frontends: &[FrontendName]) -> Self {
        let mut topology = Self::of_backend(backend);
        let mut control = letters(control_queue(node));
        control.arguments.insert("x-expires".to_owned(), QueueArgument::Number(CONTROL_EXPIRES));
        topology.queue(CONTROL, node.as_str(), control);
        for frontend in frontends {
            topology.queue(TRANSCRIPTS, frontend.as_str(), transcripts(frontend));
        }
        topology
    }

    /// Adds what `other` has and this has not.
    pub fn add(&mut self, other: Self) {
        extend(&mut self.exchanges, other.exchanges);
        extend(&mut self.queues, other.queues);
        extend(&mut self.bindings, other.bindings);
    }

    /// Whether all of `other` is in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.exchanges.iter().all(|exchange| self.exchanges.contains(exchange))
            && other.queues.iter().all(|queue| self.queues.contains(queue))
            && other.bindings.iter().all(|binding| self.bindings.contains(binding))
    }

    /// What outlives a session.
    pub(crate) fn lasting(&self) -> Self {
        let mut lasting = self.clone();
        lasting.queues.retain(|queue| queue.lifetime == Lifetime::Durable);
        lasting.bindings.retain(|binding| lasting.queues.iter().any(|queue| queue.name == binding.queue));
        lasting
    }

    /// Adds a queue and binds it.
    fn queue(&mut self, exchange: &str, routing_key: &str, queue: Queue) {
        let binding = Binding {
            exchange: exchange.to_owned(),
            queue: queue.name.clone(),
            routing_key: routing_key.to_owned(),
        };
        extend(&mut self.bindings, vec![binding]);
        extend(&mut self.queues, vec![queue]);
    }
}

fn extend<T: PartialEq>(list: &mut Vec<T>, more: Vec<T>) {
    for item in more {
        if !list.contains(&item) {
            list.push(item);
        }
    }
}

fn quorum<const N: usize>(name: String, arguments: [(&str, QueueArgument); N]) -> Queue {
    let mut arguments: BTreeMap<_, _> = arguments.map(|(key, value)| (key.to_owned(), value)).into();
    arguments.insert("x-queue-type".to_owned(), QueueArgument::Text("quorum".to_owned()));
    Queue { name, lifetime: Lifetime::Durable, arguments }
}

/// A queue whose unreadable messages end in [`DEAD`].
fn letters(name: String) -> Queue {
    quorum(
        name,
        [
            ("x-delivery-limit", QueueArgument::Number(DELIVERY_LIMIT)),
            ("x-dead-letter-exchange", QueueArgument::Text(DEAD.to_owned())),
        ],
    )
}

fn transcripts(frontend: &FrontendName) -> Queue {
    let mut queue = letters(transcripts_queue(frontend));
    let bytes = i64::try_from(TRANSCRIPT_QUEUE_BYTES).unwrap_or(i64::MAX);
    queue.arguments.insert("x-max-length-bytes".to_owned(), QueueArgument::Number(bytes));
    queue.arguments.insert("x-overflow".to_owned(), QueueArgument::Text("reject-publish".to_owned()));
    queue
}

impl fmt::Display for QueueArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Exchange { name, routing } in &self.exchanges {
            let routing = match routing {
                Routing::Direct => "direct",
                Routing::Fanout => "fanout",
            };
            writeln!(f, "exchange {name} {routing}")?;
        }
        for Queue { name, lifetime, arguments } in &self.queues {
            let ending = match lifetime {
                Lifetime::Durable => "",
                Lifetime::Session => ".* exclusive",
            };
            write!(f, "queue {name}{ending}")?;
            for (key, value) in arguments {
                write!(f, " {key}={value}")?;
            }
            writeln!(f)?;
        }
        for Binding { exchange, queue, routing_key } in &self.bindings {
            writeln!(f, "binding {exchange} {routing_key:?} -> {queue}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_declare_a_shared_queue_alike() {
        let frontend: FrontendName = "main".parse().unwrap();
        let backend: BackendName = "main".parse().unwrap();
        let mut relayd = Topology::of_frontend(&frontend);
        relayd.add(Topology::of_backend(&backend));
        let node = Topology::of_node(&backend, &"node1".parse().unwrap(), &[frontend]);
        for queue in &node.queues {
            let other = relayd.queues.iter().find(|other| other.name == queue.name);
            assert!(other.is_none_or(|other| other == queue), "{queue:?} {other:?}");
        }
        assert!(relayd.queues.iter().any(|queue| queue.name == "aegir.operations.main"));
        assert!(node.queues.iter().any(|queue| queue.name == "aegir.transcripts.main"));
    }

    #[test]
    fn adding_twice_changes_nothing() {
        let backend = Topology::of_backend(&"main".parse().unwrap());
        let mut topology = Topology::base();
        assert!(!topology.contains(&backend));
        topology.add(backend.clone());
        let once = topology.clone();
        topology.add(backend.clone());
        assert_eq!(once, topology);
        assert!(topology.contains(&backend));
    }

    #[test]
    fn it_prints_one_line_for_each_object() {
        let text = Topology::of_frontend(&"main".parse().unwrap()).to_string();
        let transcripts = "queue aegir.transcripts.main x-dead-letter-exchange=aegir.dead x-delivery-limit=100 \
                           x-max-length-bytes=67108864 x-overflow=reject-publish x-queue-type=quorum";
        assert!(text.lines().any(|line| line == transcripts), "{text}");
        assert!(text.lines().any(|line| line == "queue aegir.status.main.* exclusive"), "{text}");
        assert!(text.lines().any(|line| line == "exchange aegir.dead fanout"), "{text}");
    }
}
