//! The session: what a program wants of the broker, kept true as long as the program runs.
//!
//! A [`SessionBuilder`] collects the topology and the consumers, [`SessionBuilder::start`] gives the [`BrokerSession`]. Behind it one
//! supervised task connects (twice: a broker that is short of memory stops those who publish, and the
//! acknowledgements must not stop with them), declares the topology, starts publisher and consumers, notices
//! whatever ends one of them, and begins again after a pause, until it is cancelled.

use std::io;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::backoff::Backoff;
use crate::config::BrokerConfig;
use crate::consumer::{Consume, ConsumeControl, Deliveries};
pub use crate::declare::DeclareError;
use crate::declare::DeclareRequest;
use crate::greeting::ServerProperties;
use crate::progress::SupervisorProgress;
use crate::publisher::Publisher;
use crate::pump::RegisteredConsumer;
use crate::runtime_topology::RuntimeTopology;
pub use crate::status::Status;
use crate::supervise::Supervisor;
use crate::topology::Topology;

/// How long a confirm may take.
const CONFIRM: Duration = Duration::from_secs(10);
/// How long [`BrokerSession::declare`] may take: as long as an attempt to connect, which it may have to wait for.
const DECLARE: Duration = Duration::from_secs(45);
const COMMANDS: usize = 16;

/// Collects what a session is to hold.
#[derive(Debug)]
pub struct SessionBuilder {
    config: BrokerConfig,
    name: String,
    topology: Topology,
    outlets: Vec<RegisteredConsumer>,
    confirm: Duration,
    retry: Backoff,
    silence: Option<Duration>,
}

impl SessionBuilder {
    /// A session with `topology` declared. `name` is what the broker's operators see: "relayd main".
    #[must_use]
    pub fn new(config: BrokerConfig, name: impl Into<String>, topology: Topology) -> Self {
        Self {
            config,
            name: name.into(),
            topology,
            outlets: Vec::new(),
            confirm: CONFIRM,
            retry: Backoff::default(),
            silence: None,
        }
    }

    /// Also consumes a queue.
    pub fn consume(&mut self, consume: Consume) -> (Deliveries, ConsumeControl) {
        let (sender, receiver) = mpsc::channel(usize::from(consume.prefetch));
        let paused = watch::Sender::new(false);
        self.outlets.push(RegisteredConsumer { consume, sender, paused: paused.subscribe() });
        (Deliveries::new(receiver), ConsumeControl::new(paused))
    }

    /// How long the confirm of a message may take; ten seconds unless set.
    #[must_use]
    pub fn confirm_within(mut self, limit: Duration) -> Self {
        self.confirm = limit;
        self
    }

    /// How long to wait between attempts.
    #[must_use]
    pub fn retry(mut self, retry: Backoff) -> Self {
        self.retry = retry;
        self
    }

    /// How often a probe is sent through the broker to each [`alone`](Consume::alone) consumer, and how long it may
    /// take; the heartbeats' interval unless set.
    #[must_use]
    pub fn probe_every(mut self, silence: Duration) -> Self {
        self.silence = Some(silence);
        self
    }

    /// Starts the supervisor, which runs until `cancel` and then closes the connections. Messages that are still
    /// to be confirmed are the caller's to wait for before that.
    #[must_use]
    pub fn start(self, cancel: CancellationToken, tracker: &TaskTracker) -> BrokerSession {
        let status = watch::Sender::new(Status::Connecting { attempt: 0, last_error: None });
        let line = watch::Sender::new(None);
        let (commands, receiver) = mpsc::channel(COMMANDS);
        let publisher = Publisher::new(line.subscribe(), status.subscribe(), self.confirm);
        let silence =
            self.silence.unwrap_or(Duration::from_secs(self.config.heartbeat_seconds.max(1).into()));
        let progress = SupervisorProgress::new();
        let link = BrokerSession {
            config: self.config.clone(),
            publisher: publisher.clone(),
            status: status.subscribe(),
            commands,
            progress: progress.clone(),
        };
        let supervisor = Supervisor {
            config: self.config,
            name: self.name,
            topology: self.topology,
            runtime_topology: RuntimeTopology::default(),
            outlets: self.outlets,
            retry: self.retry,
            silence,
            status,
            line,
            publisher,
            progress,
        };
        tracker.spawn(supervisor.run(receiver, cancel));
        link
    }
}

/// A running session. Cheap to clone; dropping it ends nothing.
#[derive(Clone, Debug)]
pub struct BrokerSession {
    config: BrokerConfig,
    publisher: Publisher,
    status: watch::Receiver<Status>,
    commands: mpsc::Sender<DeclareRequest>,
    progress: SupervisorProgress,
}

impl BrokerSession {
    /// Where the broker is, without credentials, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        self.config.address()
    }

    /// Who the broker says that it is: see [`BrokerConfig::greeting`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn greeting(&self) -> io::Result<ServerProperties> {
        self.config.greeting().await
    }

    /// Publishes by this session.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Where the session stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the session is up. There is no deadline in here; `false` once it was stopped.
    pub async fn up(&self) -> bool {
        let mut status = self.status.clone();
        let end = |status: &Status| status.is_up() || *status == Status::Stopped;
        status.wait_for(end).await.is_ok_and(|status| status.is_up())
    }

    /// How long ago the supervisor last did anything. It does something every few seconds, while it reconnects as
    /// well; minutes mean that it is stuck.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.progress.age()
    }

    /// Adds to the topology. It is declared now if there is a session, and in every later one; `Ok` without a
    /// session means that it is remembered. If the broker then refuses it, it is forgotten, and a message for it
    /// finds no queue: ask again to learn why.
    ///
    /// # Errors
    ///
    /// See [`DeclareError`].
    pub async fn declare(&self, topology: Topology) -> Result<(), DeclareError> {
        let (answer, answered) = oneshot::channel();
        let ask = async {
            self.commands.send(DeclareRequest { topology, answer }).await.ok()?;
            answered.await.ok()
        };
        let unanswered = Err(DeclareError::Unanswered);
        tokio::time::timeout(DECLARE, ask).await.ok().flatten().unwrap_or(unanswered)
    }
}
