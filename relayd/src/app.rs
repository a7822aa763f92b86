//! Puts relayd together, runs it, and takes it apart again.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::{
    BrokerSession, Consume, ConsumeControl, Deliveries, SessionBuilder, Status, Topology, topology,
};
use aegir_protocol::name::FrontendName;
use aegir_service::directory::{DirectoryError, StateDirectory};
use aegir_service::shutdown::{Tasks, drain};
use aegir_service::systemd::Notifier;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalogs::Catalogs;
use crate::changes::ChangeNotifier;
use crate::config::Config;
use crate::dead_letters::{self, Collector};
use crate::dispatch::{Control, Deadlines, Dispatch, Outbox, Republisher};
use crate::http::{self, ListenError, Listeners};
use crate::ingest::status::{self, Heartbeats};
use crate::ingest::transcripts::{self, Transcripts};
use crate::nodes::{Nodes, PendingEchoes};
use crate::operations::{MacKey, Operations};
use crate::requests::{self, Requests};
use crate::services::RelayServices;
use crate::sign_in::{Token, TokenError};
use crate::store::write::{PutSetting, RestartDeadlines};
use crate::store::{OpenError, Store, StoreError};

/// How long everything together may take to end.
const DRAIN: Duration = Duration::from_millis(1500);
/// How long the broker's connections and the store may take to close after that.
const CLOSE: Duration = Duration::from_millis(400);
/// Without progress for this long, the session with the broker counts as hanging. It does something every few
/// seconds, reconnecting included.
const BROKER_STUCK: Duration = Duration::from_secs(120);

/// Why relayd can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The API's token can't be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An address can't be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// The store's writer has ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the store's writer has ended; relayd stops, to be started anew")]
pub struct WriterEnded;

/// A relayd that runs.
pub struct App {
    /// Held for life: nobody else uses the state directory.
    _state: StateDirectory,
    services: RelayServices,
    tasks: Tasks,
    links: TaskTracker,
    stores: TaskTracker,
    stop: Stop,
    notifier: Notifier,
}

/// Things end in the order in which they need each other: first what takes work, then the way to the broker,
/// then the store.
#[derive(Default)]
struct Stop {
    work: CancellationToken,
    link: CancellationToken,
    store: CancellationToken,
}

impl App {
    /// Puts relayd together and starts it. A broker that is away is waited for meanwhile.
    ///
    /// # Errors
    /// When the state directory or an address can't be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let state = StateDirectory::open(&config.state_directory())?;
        let listeners = Listeners::bind(config.http.listen, config.http.socket.as_deref()).await?;
        let token = Token::load_or_make(&state.path().join("api-token"))?;
        let (store, writer) = Store::open(&state.path().join("relayd.db")).await?;
        let (stop, notifier) = (Stop::default(), Notifier::new());
        let (tasks, links, stores) = (Tasks::new(), TaskTracker::new(), TaskTracker::new());
        let work = || stop.work.clone();

        let (catalogs, nodes) = (Arc::new(Catalogs::default()), Arc::new(Nodes::default()));
        let (changes, echoes) = (Arc::<ChangeNotifier>::default(), Arc::<PendingEchoes>::default());
        let (wake_outbox, dead_removed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (control, control_queue) = Control::new();
        let deadlines = Deadlines::new(Duration::from_secs(config.lease_margin_seconds));
        let after = Dispatch {
            outbox: Arc::clone(&wake_outbox),
            control: control.clone(),
            changes: Arc::clone(&changes),
            catalogs: Arc::clone(&catalogs),
            deadlines: Arc::clone(&deadlines),
        };
        stores.spawn(writer.run(Arc::new(after), stop.store.clone()));
        recover(&store, &catalogs).await?;

        let frontend = &config.frontend;
        let name = format!("relayd {frontend}");
        let mut builder = SessionBuilder::new(config.broker.clone(), name, Topology::of_frontend(frontend));
        let consumers = Consumers::declare(&mut builder, frontend);
        let link = builder.start(stop.link.clone(), &links);
        let publisher = link.publisher();

        let operations = Operations {
            frontend: frontend.clone(),
            default_backend: config.default_backend.clone(),
            mac_key: mac_key(&store).await?,
            store: store.clone(),
            catalogs: Arc::clone(&catalogs),
            changes,
            nodes: Arc::clone(&nodes),
        };
        let removed = Arc::clone(&dead_removed);
        let services =
            RelayServices::new(operations, token, &link, control.clone(), Arc::clone(&echoes), removed);

        tasks.spawn("control", control_queue.run(publisher.clone(), work()));
        let (wake, live) = (Arc::clone(&wake_outbox), Arc::clone(&nodes));
        let outbox = Outbox { store: store.clone(), link: link.clone(), nodes: live, wake };
        tasks.spawn("outbox", outbox.run(work()));
        tasks.spawn("republisher", Republisher::new(store.clone(), Arc::clone(&nodes)).run(work()));
        tasks.spawn("deadlines", deadlines.run(store.clone(), work()));
        let transcripts = Transcripts { store: store.clone(), echoes };
        tasks.spawn("transcripts", transcripts.run(consumers.transcripts, work()));
        let (letters, control_of_letters) = consumers.dead_letters;
        let collector =
            Collector { store: store.clone(), control: control_of_letters, removed: dead_removed };
        tasks.spawn("dead letters", collector.run(letters, work()));
        let heartbeats = Heartbeats { nodes, store, catalogs, control, outbox: wake_outbox };
        tasks.spawn("heartbeats", heartbeats.run(consumers.heartbeats, work()));
        let requests = Requests { operations: Arc::clone(&services.operations), publisher };
        tasks.spawn("requests", requests.run(consumers.requests, work()));
        log_addresses(&listeners, &config);
        let limits = http::ConnectionLimits::new(config.http.max_connections.get());
        tasks.spawn("http", http::serve(listeners, services.clone(), limits, work()));
        tasks.spawn("broker status", watch_broker(link, notifier.clone(), work()));
        let (watchdog, feeding) = (notifier.clone(), work());
        tasks.spawn("watchdog", async move { watchdog.feed_watchdog(feeding).await });

        tracing::info!(
            frontend = %config.frontend, state_directory = %state.path().display(),
            broker = config.broker.address(), "relayd is ready"
        );
        notifier.ready("ready");
        Ok(Self { _state: state, services, tasks, links, stores, stop, notifier })
    }

    /// What the API and the page ask.
    #[must_use]
    pub fn services(&self) -> RelayServices {
        self.services.clone()
    }

    /// Goes on until `cancel`, then ends everything within two seconds.
    ///
    /// # Errors
    /// When the store's writer ends before that, which it only does by a fault of this program: without it
    /// nothing can be taken any more, and starting anew is the way out.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), WriterEnded> {
        self.stores.close();
        let result = tokio::select! {
            () = cancel.cancelled() => Ok(()),
            () = self.stores.wait() => Err(WriterEnded),
        };
        self.notifier.stopping("stopping");
        self.stop.work.cancel();
        self.tasks.drain(DRAIN).await;
        self.stop.link.cancel();
        if tokio::time::timeout(CLOSE, self.close()).await.is_err() {
            tracing::warn!(
                "the store or the broker's connections did not close in time; nothing is lost by that"
            );
        }
        tracing::info!("relayd has stopped");
        result
    }

    async fn close(&self) {
        // Who closes the file last folds its log into it, and readers can't.
        self.services.operations.store.close_readers().await;
        self.stop.store.cancel();
        drain(&self.links, CLOSE).await;
        drain(&self.stores, CLOSE).await;
    }
}

/// What relayd takes from the broker.
struct Consumers {
    transcripts: Deliveries,
    requests: Deliveries,
    heartbeats: Deliveries,
    dead_letters: (Deliveries, ConsumeControl),
}

impl Consumers {
    fn declare(builder: &mut SessionBuilder, frontend: &FrontendName) -> Self {
        let mut consume = |queue, prefetch| builder.consume(Consume::queue(queue, prefetch).alone()).0;
        let transcripts = consume(topology::transcripts_queue(frontend), transcripts::PREFETCH);
        let requests = consume(topology::requests_queue(frontend), requests::PREFETCH);
        let heartbeats = Consume::queue(topology::status_queue(frontend), status::PREFETCH);
        let (heartbeats, _) = builder.consume(heartbeats.settled_on_arrival().alone());
        let dead_letters = builder.consume(Consume::queue(topology::DEAD, dead_letters::PREFETCH));
        // Until it is known whether there is room.
        dead_letters.1.pause();
        Self { transcripts, requests, heartbeats, dead_letters }
    }
}

/// Takes up what an earlier relayd has stored: the catalogs, and the deadlines, which begin anew.
async fn recover(store: &Store, catalogs: &Catalogs) -> Result<(), StoreError> {
    for catalog in store.catalogs().await? {
        catalogs.put(catalog);
    }
    store.write(RestartDeadlines(store.with_deadlines().await?)).await
}

fn log_addresses(listeners: &Listeners, config: &Config) {
    if let Ok(address) = listeners.address() {
        tracing::info!(%address, "listening");
    }
    if let Some(socket) = &config.http.socket {
        tracing::info!(socket = %socket.display(), "listening");
    }
}

/// The key that requests are compared with: made once, and never changed.
async fn mac_key(store: &Store) -> Result<MacKey, StoreError> {
    const NAME: &str = "request_mac_key";
    let fresh = crate::sign_in::hash(&crate::sign_in::random()).to_vec();
    store.write(PutSetting { name: NAME, value: fresh, first_wins: true }).await?;
    let key = store.setting(NAME).await?.and_then(|key| key.try_into().ok());
    key.map(MacKey).ok_or_else(|| StoreError::Unreadable(format!("{NAME} is not a key")))
}

/// Says in the log and to systemd how it stands with the broker, and beats for the watchdog while the session's
/// supervisor makes progress: a broker that is away restarts nobody.
async fn watch_broker(link: BrokerSession, notifier: Notifier, cancel: CancellationToken) {
    let heartbeat = notifier.watch("broker session", BROKER_STUCK);
    let mut status = link.status();
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = cancel.cancelled() => break,
            _ = ticks.tick() => {}
            changed = status.changed() => {
                if changed.is_err() {
                    break;
                }
                let text = match &*status.borrow_and_update() {
                    Status::Up => "ready".to_owned(),
                    status @ (Status::Connecting { .. }
                    | Status::Silent { .. }
                    | Status::Blocked { .. }
                    | Status::Mismatch { .. }) => status.to_string(),
                    Status::Stopped => break,
                };
                notifier.status(&text);
            }
        }
        if link.idle() < BROKER_STUCK {
            heartbeat.beat();
        }
    }
    heartbeat.retire();
}
