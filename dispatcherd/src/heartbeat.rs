//! Saying that this node is alive, and what it has.

use std::sync::Arc;

use aegir_amqp::{BrokerSession, Status};
use aegir_protocol::limits::HEARTBEAT_INTERVAL;
use aegir_protocol::message::{Blocked, Heartbeat};
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_protocol::state::Reason;
use aegir_service::systemd::{self, Notifier};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Duration, MissedTickBehavior, interval, timeout};

use crate::node::Node;
use crate::slots::Occupancy;
use crate::spool;

/// The session's supervisor does something every few seconds. Without anything for this long it is stuck, and
/// the watchdog is to restart this process.
const SUPERVISOR_STUCK: Duration = Duration::from_secs(120);

/// What a heartbeat is made of.
#[derive(Debug)]
pub struct HeartbeatSender {
    /// What it is part of.
    pub node: Arc<Node>,
    /// Of which backend.
    pub backend: BackendName,
    /// Who is told.
    pub frontends: Vec<FrontendName>,
    /// How many attempts run at most.
    pub slots: u32,
    /// How many attempts are where.
    pub occupancy: watch::Receiver<Occupancy>,
    /// Why no Operations are taken, when that is so.
    pub closed: watch::Receiver<Option<Reason>>,
    /// The session.
    pub link: BrokerSession,
    /// For systemd's status line.
    pub notifier: Notifier,
    /// For the watchdog.
    pub heartbeat: systemd::WatchdogHandle,
}

impl HeartbeatSender {
    /// Beats at once when the session comes up, and then regularly, until the node stops.
    pub async fn run(self) {
        let cancel = self.node.cancel.clone();
        let _ = cancel.run_until_cancelled(self.send_until_stopped()).await;
        self.heartbeat.retire();
    }

    async fn send_until_stopped(&self) {
        let mut status = self.link.status();
        let mut ticks = interval(HEARTBEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = String::new();
        // Under way beside the rest, so that a broker that is slow to answer does not hold up the status line.
        let mut last_outage = None;
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                changed = status.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(()) = sending.next() => continue,
            }
            let session = status.borrow_and_update().clone();
            if self.link.idle() < SUPERVISOR_STUCK {
                self.heartbeat.beat();
            }
            last_outage = outage(&session).or(last_outage);
            let blocked = self.blocked().await;
            let line = self.line(&session, blocked.len());
            if line != shown {
                self.notifier.status(&line);
                shown = line;
            }
            if session.is_up() && sending.is_empty() {
                sending.push(self.send(last_outage.clone(), blocked));
            }
        }
    }

    /// The attempts that can't be started for want of room, and those whose children wait for some.
    async fn blocked(&self) -> Vec<Blocked> {
        let Occupancy { claiming, running, .. } = self.occupancy.borrow().clone();
        let blocked = move |node: &Node| {
            let waits = |&attempt: &_| spool::blocked(attempt, &node.journal.directory(attempt));
            let waiting: Vec<_> = running.iter().filter_map(waits).collect();
            let granted = [claiming, running].concat();
            node.blocked_starts.among(&granted).into_iter().chain(waiting).collect()
        };
        self.node.on_disk(blocked).await
    }

    fn line(&self, session: &Status, blocked: usize) -> String {
        let (waiting, running) = {
            let occupancy = self.occupancy.borrow();
            (occupancy.waiting.len() + occupancy.claiming.len(), occupancy.running.len())
        };
        let broker = if *session == Status::Up { String::new() } else { format!("; {session}") };
        let blocked = match blocked {
            0 => String::new(),
            blocked => format!(" ({blocked} of them blocked: the disk or the spool is full)"),
        };
        let intake = match &*self.closed.borrow() {
            None => String::new(),
            Some(reason) => format!("; takes nothing: {reason}"),
        };
        format!("{running} running{blocked}, {waiting} waiting{broker}{intake}")
    }

    async fn send(&self, last_outage: Option<String>, blocked: Vec<Blocked>) {
        let occupancy = self.occupancy.borrow().clone();
        let closed = self.closed.borrow().clone();
        // What a draining node will not claim is none of its business: relayd may hand it to another one.
        let waiting = if occupancy.draining { Vec::new() } else { occupancy.waiting };
        let heartbeat = Heartbeat {
            node: self.node.planning.node.clone(),
            backend: self.backend.clone(),
            version: aegir_service::VERSION.to_owned(),
            at: Timestamp::now(),
            slots: self.slots,
            waiting: occupancy.claiming.into_iter().chain(waiting).collect(),
            running: occupancy.running,
            spool_bytes: self.node.uploads.spool_bytes(),
            accepting: closed.is_none(),
            catalog: self.node.catalog.borrow().as_ref().map(|catalog| catalog.digest.clone()),
            closed,
            blocked,
            last_outage,
        };
        for frontend in &self.frontends {
            let beat = self.node.frontends.send_heartbeat(frontend, &heartbeat);
            if let Ok(Err(error)) = timeout(HEARTBEAT_INTERVAL, beat).await {
                tracing::debug!(%frontend, %error, "a heartbeat was not sent");
            }
        }
    }
}

/// What is the matter, if the session is not as it should be. That there is none yet, at the start, is no outage.
fn outage(session: &Status) -> Option<String> {
    match session {
        Status::Connecting { last_error: Some(_), .. }
        | Status::Silent { .. }
        | Status::Blocked { .. }
        | Status::Mismatch { .. } => Some(session.to_string()),
        Status::Connecting { last_error: None, .. } | Status::Up | Status::Stopped => None,
    }
}
