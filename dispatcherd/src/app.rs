//! dispatcherd, wired together.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aegir_amqp::topology::{control_queue, operations_queue};
use aegir_amqp::{Consume, SessionBuilder, Topology};
use aegir_role::RolePaths;
use aegir_service::directory::{DirectoryError, RuntimeDirectory, StateDirectory};
use aegir_service::exit::Exit;
use aegir_service::shutdown::{Tasks, on_signals};
use aegir_service::systemd::Notifier;
use aegir_transcript::{FileWatcher, WatchError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blocked_starts::BlockedStarts;
use crate::catalog::{self, CatalogPublisher, CatalogReader};
use crate::config::{Config, NoNodeName};
use crate::control;
use crate::drain::{self, Drain};
use crate::frontends::Frontends;
use crate::heartbeat::HeartbeatSender;
use crate::identity::{self, IdentityError};
use crate::intake::{self, Intake, Scope};
use crate::journal::{Journal, JournalError, RecoveredAttempt, RecoveredState};
use crate::launch::Launcher;
use crate::node::Node;
use crate::planner::PlanningContext;
use crate::ship::{FrontendWindow, Shipper, Uploads};
use crate::slots::{self, Occupancy, SlotEvent, Slots};
use crate::spool::{Level, Limit};
use crate::supervise;

/// How long tasks may take to end. Runners go on, so there is little to do.
const DRAIN: Duration = Duration::from_millis(1500);
/// A loop that has not turned for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// Events on their way to the one who decides.
const EVENTS: usize = 1024;

/// Why dispatcherd can't run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The config can't be used as it is.
    #[error("the config can't be used:\n  {}", .0.join("\n  "))]
    Config(Vec<String>),
    /// There is no name for this node.
    #[error(transparent)]
    NoNodeName(#[from] NoNodeName),
    /// The state or runtime directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The key can't be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Files can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The system refuses something that every program may do.
    #[error("could not {what}: {error}")]
    System {
        what: &'static str,
        #[source]
        error: std::io::Error,
    },
}

impl AppError {
    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoNodeName(_) => Exit::ConfigInvalid,
            Self::Directory(error) => error.into(),
            Self::Identity(_) | Self::Journal(_) => Exit::StateDirectoryUnwritable,
            Self::Watch(_) | Self::System { .. } => Exit::Internal,
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> AppError {
    move |error| AppError::System { what, error }
}

/// What is needed to look for roles.
///
/// # Errors
/// When the node has no name.
pub fn catalog_reader(config: &Config, recipient: String, keep: bool) -> Result<CatalogReader, NoNodeName> {
    Ok(CatalogReader {
        backend: config.backend.clone(),
        node: config.node_name()?,
        recipient,
        role_paths: RolePaths { roles: config.roles.clone(), collections: config.collections.clone() },
        content: keep.then(|| config.settings().content_directory),
    })
}

/// What this node declares on the broker.
///
/// # Errors
/// When the node has no name.
pub fn topology(config: &Config) -> Result<Topology, NoNodeName> {
    Ok(Topology::of_node(&config.backend, &config.node_name()?, &config.frontends))
}

/// Runs until a signal says to stop. Runners go on without it.
///
/// # Errors
/// When it can't start.
pub async fn serve(config: Config) -> Result<(), AppError> {
    let wrong = config.check();
    if !wrong.is_empty() {
        return Err(AppError::Config(wrong));
    }
    let cancel = on_signals().map_err(system("listen for signals"))?;
    let reload = signal(SignalKind::hangup()).map_err(system("listen for SIGHUP"))?;
    let state = StateDirectory::open(&config.state_path())?;
    let _runtime = RuntimeDirectory::open(&config.runtime_path())?;
    let recipient = identity::recipient(state.path())?;
    let retention = Duration::from_secs(config.transcript_retention_seconds);
    let journal = Journal::open(state.path(), retention)?;
    let found = journal.scan()?;
    let catalog_reader = catalog_reader(&config, recipient, true)?;
    let catalog = catalog_reader.read().inspect(|catalog| catalog::log(catalog)).inspect_err(
        |error| tracing::error!(%error, "no Operations are taken until the roles can be copied"),
    );
    let (catalog, catalog_read) = watch::channel(catalog.ok());

    let slots = usize::try_from(config.slots).unwrap_or(usize::MAX);
    let planning = PlanningContext {
        node: config.node_name()?,
        settings: config.settings(),
        programs_on_dispatcher: config.allow.programs_on_dispatcher,
        runners: config.runners.clone(),
        task_timeout_seconds: config.limits.task_timeout_seconds,
        task_quiet_seconds: config.limits.task_quiet_seconds,
    };
    let name = format!("dispatcherd {}", planning.node);
    let mut builder = SessionBuilder::new(config.broker.clone(), name, topology(&config)?);
    let prefetch = u16::try_from(config.slots).unwrap_or(u16::MAX);
    let (operations, intake_control) =
        builder.consume(Consume::queue(operations_queue(&config.backend), prefetch));
    let (controls, _) =
        builder.consume(Consume::queue(control_queue(&planning.node), control::PREFETCH).alone());
    let draining = drain::wanted(state.path());
    if draining {
        intake_control.pause();
    }
    let sessions = TaskTracker::new();
    let session_cancel = CancellationToken::new();
    let link = builder.start(session_cancel.clone(), &sessions);

    let frontends = Frontends::new(link.publisher(), link.status(), planning.node.clone());
    let shipper = Shipper {
        frontends: frontends.clone(),
        frontend_window: FrontendWindow::default(),
        watcher: FileWatcher::new()?,
    };
    let (events, events_read) = mpsc::channel(EVENTS);
    let node = Arc::new(Node {
        journal,
        planning,
        catalog: catalog_read,
        catalog_wanted: Arc::default(),
        launcher: Launcher::of_this_program().map_err(system("find this program's own file"))?,
        blocked_starts: BlockedStarts::default(),
        frontends: frontends.clone(),
        shipper,
        uploads: Uploads::default(),
        events,
        tasks: Tasks::new(),
        cancel,
    });
    let notifier = Notifier::new();
    let (occupancy, occupancy_read) = watch::channel(Occupancy { draining, ..Occupancy::default() });
    let (closed, closed_read) = watch::channel(None);
    let (level, level_read) = watch::channel(Level::default());

    let heartbeat = notifier.watch("slots", STUCK);
    let mut deciding = Slots::new(slots);
    // Before anything is found that could be claimed; later it comes as an event.
    deciding.on(SlotEvent::Draining(draining), Instant::now());
    node.tasks
        .spawn("slots", slots::run::run(Arc::clone(&node), deciding, events_read, occupancy, heartbeat));
    let drain =
        Drain { node: Arc::clone(&node), state: state.path().to_owned(), occupancy: occupancy_read.clone() };
    node.spawn("drain", drain.run());
    recover(&node, found).await;
    let intake = Intake {
        node: Arc::clone(&node),
        scope: Scope { backend: config.backend.clone(), frontends: config.frontends.clone() },
        max_waiting: intake::max_waiting(slots, config.frontends.len()),
        deliveries: operations,
        control: intake_control,
        occupancy: occupancy_read.clone(),
        catalog: node.catalog.clone(),
        spool: level_read,
        closed,
    };
    node.tasks.spawn("intake", intake.run());
    node.tasks.spawn("control", control::run(Arc::clone(&node), controls));
    let wanted = Arc::clone(&node.catalog_wanted);
    let catalog_publisher =
        CatalogPublisher { catalog_reader, to: config.frontends.clone(), frontends, catalog, wanted, reload };
    node.spawn("catalog", catalog_publisher.run());
    let limit = Limit {
        node: Arc::clone(&node),
        bytes: config.limits.spool_bytes,
        occupancy: occupancy_read.clone(),
        level,
    };
    node.spawn("spool", limit.run());
    node.spawn("prune", prune(Arc::clone(&node)));
    let watchdog = notifier.clone();
    let watchdog_cancel = node.cancel.clone();
    node.tasks.spawn("watchdog", async move { watchdog.feed_watchdog(watchdog_cancel).await });
    let heartbeat_sender = HeartbeatSender {
        node: Arc::clone(&node),
        backend: config.backend.clone(),
        frontends: config.frontends.clone(),
        slots: config.slots,
        occupancy: occupancy_read,
        closed: closed_read,
        link: link.clone(),
        notifier: notifier.clone(),
        heartbeat: notifier.watch("session", STUCK),
    };
    node.tasks.spawn("heartbeat", heartbeat_sender.run());
    tracing::info!(
        backend = %config.backend, node = %node.planning.node, slots, broker = config.broker.address(),
        state_directory = %state.path().display(), "dispatcherd is ready"
    );
    notifier.ready("ready");

    node.cancel.cancelled().await;
    notifier.stopping("stopping; runners go on");
    node.tasks.drain(DRAIN).await;
    session_cancel.cancel();
    aegir_service::shutdown::drain(&sessions, Duration::from_millis(300)).await;
    tracing::info!("dispatcherd has stopped");
    Ok(())
}

/// Takes up again what an earlier process left.
async fn recover(node: &Arc<Node>, found: Vec<RecoveredAttempt>) {
    for RecoveredAttempt { attempt, frontend, priority, state } in found {
        let here = Arc::clone(node);
        match state {
            RecoveredState::Journaled => {
                node.happened(SlotEvent::Journaled(attempt, frontend, priority)).await;
            }
            RecoveredState::Started => {
                let lease = node.journal.lease(attempt).map(slots::lease_state);
                node.happened(SlotEvent::Adopted(attempt, frontend.clone(), lease)).await;
                node.spawn("attempt", supervise::adopt(here, attempt, frontend));
            }
            RecoveredState::Reporting(pending) => {
                node.happened(SlotEvent::Leaving(attempt, frontend)).await;
                node.spawn("report", supervise::send_report(here, attempt, pending));
            }
        }
    }
}

/// Removes what has been kept for long enough: at the start, and then regularly.
async fn prune(node: Arc<Node>) {
    loop {
        let pruned = node.on_disk(|node| node.journal.prune(SystemTime::now())).await;
        match pruned {
            Ok(pruned) if pruned.spools + pruned.tombstones > 0 => {
                tracing::info!(spools = pruned.spools, tombstones = pruned.tombstones, "journal pruned");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the journal could not be pruned"),
        }
        let catalog = node.catalog.borrow().clone();
        if let Some(catalog) = catalog {
            let removed = node.on_disk(move |node| remove_unused_content(node, &catalog)).await;
            if let Err(error) = removed {
                tracing::error!(%error, "roles that nothing uses any more can't be removed");
            }
        }
        tokio::time::sleep(node.journal.prune_interval()).await;
    }
}

/// Copies of roles that neither the catalog nor an attempt names.
fn remove_unused_content(node: &Node, catalog: &aegir_catalog::Catalog) -> Result<(), JournalError> {
    let content = &node.planning.settings.content_directory;
    let mut used: Vec<String> = catalog.roles.values().map(|role| role.digest.clone()).collect();
    used.extend(node.journal.planned_digests()?);
    // Those that the next attempt will name.
    used.extend(aegir_role::files::digest(&node.planning.settings.ansible_plugins).ok());
    catalog::snapshot::remove_unused(content, &|digest| used.iter().any(|used| used == digest))
        .map(|removed| {
            if removed > 0 {
                tracing::info!(removed, "copies of roles that nothing uses any more were removed");
            }
        })
        .map_err(|error| JournalError { what: "clear", path: content.clone(), error })
}
