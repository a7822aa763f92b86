//! A broker, a link to it, and a second client that does what others do.

use std::time::Duration;

use aegir_amqp::session::Backoff;
use aegir_amqp::topology::{Lifetime, Queue, QueueArgument};
use aegir_amqp::{BrokerConfig, BrokerSession, Deliveries, Delivery, SessionBuilder, Status, Topology};
use aegir_testkit::Broker;
use lapin::message::BasicGetMessage;
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The end of every wait in these tests.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running link, stopped by [`stop`](Running::stop).
pub(crate) struct Running {
    pub(crate) link: BrokerSession,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Running {
    /// Starts without waiting for anything.
    pub(crate) fn start(builder: SessionBuilder) -> Self {
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        Self { link: builder.start(cancel.clone(), &tracker), cancel, tracker }
    }

    pub(crate) async fn up(builder: SessionBuilder) -> Self {
        let running = Self::start(builder);
        running.is_up().await;
        running
    }

    pub(crate) async fn is_up(&self) {
        assert!(within(self.link.up()).await);
    }

    pub(crate) async fn becomes(&self, wanted: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.link.status();
        within(status.wait_for(wanted)).await.expect("the supervisor lives").clone()
    }

    /// Ends the link; everything that it started must end with it.
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        self.tracker.close();
        within(self.tracker.wait()).await;
        assert_eq!(*self.link.status().borrow(), Status::Stopped);
    }
}

pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(DEADLINE, work).await.expect("it took too long")
}

/// Looks again and again until there is an answer.
pub(crate) async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(async {
        loop {
            if let Some(value) = look().await {
                return value;
            }
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

pub(crate) async fn next(deliveries: &mut Deliveries) -> Delivery {
    within(deliveries.recv()).await.expect("the link runs")
}

pub(crate) fn builder(broker: &Broker, topology: Topology) -> SessionBuilder {
    // Shown when a test fails. More than one test in a process is fine.
    let filter = format!("debug,{}", aegir_amqp::LOG_DIRECTIVE);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    SessionBuilder::new(BrokerConfig::from_url(broker.url()), "test", topology).retry(Backoff {
        least: Duration::from_millis(20),
        most: Duration::from_millis(200),
        mismatch: Duration::from_millis(200),
    })
}

/// A name that no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{}", uuid::Uuid::new_v4().simple())
}

/// The base topology and a quorum queue, reached by the default exchange.
pub(crate) fn with_queue(name: &str, arguments: &[(&str, QueueArgument)]) -> Topology {
    let mut topology = Topology::base();
    let quorum = ("x-queue-type", QueueArgument::Text("quorum".to_owned()));
    let arguments = arguments.iter().cloned().chain([quorum]);
    topology.queues.push(Queue {
        name: name.to_owned(),
        lifetime: Lifetime::Durable,
        arguments: arguments.map(|(key, value)| (key.to_owned(), value)).collect(),
    });
    topology
}

/// Somebody else on the same broker.
pub(crate) struct Other {
    _connection: Connection,
    pub(crate) channel: Channel,
}

impl Other {
    pub(crate) async fn connect(broker: &Broker) -> Self {
        let connecting = Connection::connect(broker.url(), ConnectionProperties::default());
        let connection = within(connecting).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Self { _connection: connection, channel }
    }

    /// How many messages are ready in a queue.
    pub(crate) async fn depth(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default());
        queue.await.unwrap().message_count()
    }

    /// Takes a message that fulfils a condition. Others are lost.
    pub(crate) async fn take(
        &self,
        queue: &str,
        wanted: impl Fn(&BasicGetMessage) -> bool,
    ) -> BasicGetMessage {
        eventually(async || {
            let message = self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()?;
            message.ack(BasicAckOptions::default()).await.unwrap();
            wanted(&message).then_some(message)
        })
        .await
    }
}
