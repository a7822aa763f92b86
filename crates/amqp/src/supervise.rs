//! The supervisor: the one path by which a session begins, for the first time and every other.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use lapin::protocol::{AMQPErrorKind, AMQPHardError};
use lapin::types::ShortString;
use lapin::{Connection, ErrorKind, Event};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::activity::{ConsumerActivity, PublisherActivity};
use crate::backoff::{Backoff, random};
use crate::config::BrokerConfig;
use crate::connect::{Names, Opened, STEP, SessionError, declare, open, open_channel};
use crate::declare::DeclareRequest;
use crate::loopback_probe::LoopbackProbe;
use crate::outgoing::WINDOW;
use crate::probe::probe;
use crate::progress::SupervisorProgress;
use crate::publish::{self, PublishJob};
use crate::publisher::Publisher;
use crate::pump::{self, PumpError, RegisteredConsumer};
use crate::runtime_topology::RuntimeTopology;
use crate::status::Status;
use crate::topology::Topology;

/// How often the supervisor shows that it lives and looks whether the connections do.
const TICK: Duration = Duration::from_secs(1);
/// A session that lasted this long was a good one: the next waits start small again.
const GOOD: Duration = Duration::from_secs(30);
/// How long parts and connections may take to end.
const END: Duration = Duration::from_secs(2);
/// How soon after it was declared a topology may be declared again, because a message found no queue.
const REDECLARE: Duration = Duration::from_secs(1);
/// The wait after a message that cannot be read. Short, because it is the count of deliveries that ends it.
const UNREADABLE: Duration = Duration::from_millis(20);

/// What a session is made of, and whom to tell.
pub(crate) struct Supervisor {
    pub(crate) config: BrokerConfig,
    pub(crate) name: String,
    pub(crate) topology: Topology,
    pub(crate) runtime_topology: RuntimeTopology,
    pub(crate) outlets: Vec<RegisteredConsumer>,
    pub(crate) retry: Backoff,
    pub(crate) silence: Duration,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) line: watch::Sender<Option<mpsc::Sender<PublishJob>>>,
    pub(crate) publisher: Publisher,
    pub(crate) progress: SupervisorProgress,
}

/// Why a session ended.
enum End {
    Cancelled,
    Lost {
        reason: String,
        /// lapin could not read what the broker sent. Some message has a property that is no UTF-8, or more
        /// properties than a frame holds, and every session that it is delivered to ends like this.
        unreadable: bool,
    },
}

impl End {
    fn lost(reason: impl ToString) -> Self {
        Self::Lost { reason: reason.to_string(), unreadable: false }
    }

    fn failed(what: impl ToString, error: &lapin::Error) -> Self {
        let unreadable = match error.kind() {
            ErrorKind::ParsingError(_) => true,
            // A message's properties stand in one frame, and the broker does not cut those of a sender with larger
            // frames to the size that we agreed to.
            ErrorKind::ProtocolError(error) => {
                *error.kind() == AMQPErrorKind::Hard(AMQPHardError::FRAMEERROR)
            }
            _ => false,
        };
        Self::Lost { reason: what.to_string(), unreadable }
    }
}

/// How the next attempt is to be made.
#[derive(Default)]
struct NextAttempt {
    failures: u32,
    /// The last attempt ran into its time limit: ask whether anybody is there before trying again.
    ask_first: bool,
    /// Some queue holds a message that lapin cannot read. One delivery at a time, so that the broker counts
    /// deliveries of that message and of no other, until it reaches the limit and moves it away.
    one_by_one: bool,
}

impl Supervisor {
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<DeclareRequest>,
        cancel: CancellationToken,
    ) {
        let address = self.config.address();
        let mut next = NextAttempt::default();
        loop {
            let attempt = tokio::select! {
                () = cancel.cancelled() => break,
                attempt = ticking(self.progress.clone(), self.open(next.ask_first)) => attempt,
            };
            next.ask_first = matches!(attempt, Err(SessionError::Silent(_)));
            let wait = match attempt {
                Ok(opened) => {
                    tracing::info!(broker = address, "connected to the broker");
                    let began = Instant::now();
                    let end = self.hold(opened, &mut commands, &cancel, next.one_by_one).await;
                    let End::Lost { reason, unreadable } = end else { break };
                    next.failures = if began.elapsed() >= GOOD { 1 } else { next.failures + 1 };
                    next.one_by_one = unreadable || (next.one_by_one && began.elapsed() < GOOD);
                    tracing::warn!(broker = address, error = reason, "lost the session with the broker");
                    self.lost(next.failures, reason);
                    if unreadable { UNREADABLE } else { self.retry.delay(next.failures, random()) }
                }
                Err(SessionError::Mismatch { object, error }) => {
                    next.failures += 1;
                    tracing::error!(
                        broker = address,
                        object,
                        error,
                        "something on the broker clashes with what we declare"
                    );
                    self.status.send_replace(Status::Mismatch { object, error });
                    self.retry.mismatch
                }
                Err(error) => {
                    next.failures += 1;
                    tracing::warn!(broker = address, %error, attempt = next.failures, "cannot reach the broker");
                    self.lost(next.failures, error.to_string());
                    self.retry.delay(next.failures, random())
                }
            };
            tokio::select! {
                () = cancel.cancelled() => break,
                () = self.pause(wait, &mut commands) => {}
            }
        }
        self.status.send_replace(Status::Stopped);
        tracing::info!(broker = address, "disconnected from the broker");
    }

    async fn open(&mut self, ask_first: bool) -> Result<Opened, SessionError> {
        if ask_first {
            let uri = self.config.target()?.uri;
            probe(&uri, STEP).await.map_err(|_| SessionError::Silent("asked whether it is there"))?;
        }
        let opened = open(&self.config, &self.name, &self.topology).await?;
        self.runtime_topology.declare_all(&opened.consuming).await?;
        Ok(opened)
    }

    fn lost(&self, attempt: u32, error: String) {
        self.status.send_replace(Status::Connecting { attempt, last_error: Some(error) });
    }

    /// Waits for the next attempt, and remembers what is to be declared in it.
    async fn pause(&mut self, wait: Duration, commands: &mut mpsc::Receiver<DeclareRequest>) {
        let end = sleep(wait);
        tokio::pin!(end);
        let mut tick = interval(TICK);
        loop {
            tokio::select! {
                () = &mut end => return,
                _ = tick.tick() => self.progress.note(),
                Some(command) = commands.recv() => self.runtime_topology.remember(command),
            }
        }
    }

    /// Keeps a session until something ends it.
    async fn hold(
        &mut self,
        opened: Opened,
        commands: &mut mpsc::Receiver<DeclareRequest>,
        cancel: &CancellationToken,
        one_by_one: bool,
    ) -> End {
        let ended = CancellationToken::new();
        let mut parts = JoinSet::new();
        let Opened { publishing, consuming, channel, names } = opened;
        let activity = PublisherActivity::new();
        let (line, jobs) = mpsc::channel(WINDOW);
        let publish = publish::run(channel.clone(), jobs, activity.clone(), ended.clone());
        parts.spawn(async move {
            match publish.await {
                Ok(()) => End::lost("publishing ended"),
                Err(error) => End::failed(format!("publishing failed: {error}"), &error),
            }
        });
        let started = tokio::select! {
            () = cancel.cancelled() => None,
            started = self.start_pumps(&consuming, &names, &mut parts, &ended, one_by_one) => Some(started),
        };
        let end = match started {
            Some(Ok(heard)) => {
                // First the way, then the word that it is open.
                self.line.send_replace(Some(line));
                self.status.send_replace(Status::Up);
                self.start_loopback_probe(activity.clone(), heard, &mut parts, &ended);
                let limit = one_by_one.then_some(GOOD);
                let watch =
                    Watch { publishing: &publishing, consuming: &consuming, channel: &channel, activity };
                self.watch(watch, &mut parts, commands, cancel, limit).await
            }
            Some(Err(error)) => End::lost(error),
            None => End::Cancelled,
        };
        self.line.send_replace(None);
        ended.cancel();
        let finish = async { while parts.join_next().await.is_some() {} };
        // What does not end in time is aborted with the set.
        let _ = timeout(END, finish).await;
        tokio::join!(close(&publishing), close(&consuming));
        end
    }

    async fn start_pumps(
        &self,
        consuming: &Connection,
        names: &Names,
        parts: &mut JoinSet<End>,
        ended: &CancellationToken,
        one_by_one: bool,
    ) -> Result<Vec<Arc<ConsumerActivity>>, SessionError> {
        let mut alone = Vec::new();
        for outlet in &self.outlets {
            let queue = &outlet.consume.queue;
            let name = names.get(queue).unwrap_or(queue);
            let short =
                ShortString::try_new(name.as_str()).map_err(|_| SessionError::TooLong(name.clone()))?;
            let prefetch = if one_by_one { 1 } else { outlet.consume.prefetch };
            let heard = Arc::new(ConsumerActivity::new(name.clone(), prefetch));
            if outlet.consume.alone {
                alone.push(Arc::clone(&heard));
            }
            let channel = open_channel(consuming).await?;
            let (outlet, publisher, ended) = (outlet.clone(), self.publisher.clone(), ended.clone());
            parts.spawn(async move {
                match pump::run(channel, short, prefetch, outlet, publisher, heard, ended).await {
                    Ok(()) => End::lost("consuming ended"),
                    Err(error @ PumpError::Cancelled { .. }) => End::lost(error),
                    Err(PumpError::Failed { queue, source }) => {
                        End::failed(format!("consuming {queue} failed: {source}"), &source)
                    }
                }
            });
        }
        Ok(alone)
    }

    fn start_loopback_probe(
        &self,
        activity: PublisherActivity,
        heard: Vec<Arc<ConsumerActivity>>,
        parts: &mut JoinSet<End>,
        ended: &CancellationToken,
    ) {
        let (publisher, status) = (self.publisher.clone(), self.status.clone());
        let loopback_probe =
            LoopbackProbe { publisher, status, activity, heard, every: self.silence }.run(ended.clone());
        parts.spawn(
            async move { End::lost(loopback_probe.await.unwrap_or_else(|| "probing ended".to_owned())) },
        );
    }

    async fn watch(
        &mut self,
        session: Watch<'_>,
        parts: &mut JoinSet<End>,
        commands: &mut mpsc::Receiver<DeclareRequest>,
        cancel: &CancellationToken,
        limit: Option<Duration>,
    ) -> End {
        let mut publishing_events = events(session.publishing);
        let mut consuming_events = events(session.consuming);
        let mut tick = interval(TICK);
        let until = Instant::now() + limit.unwrap_or_default();
        let mut declared = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return End::Cancelled,
                Some(part) = parts.join_next() => {
                    return part.unwrap_or_else(|error| End::lost(format!("a part of the session died: {error}")));
                }
                Some(event) = publishing_events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(reason, "the broker takes no messages for now");
                        self.status.send_replace(Status::Blocked { reason });
                    }
                    Event::ConnectionUnblocked => {
                        tracing::info!("the broker takes messages again");
                        self.status.send_replace(Status::Up);
                    }
                    // Errors of single channels are events too, and reported where the channel is used.
                    Event::Error(error) if !session.publishing.status().connected() => {
                        return End::failed(format!("the publishing connection failed: {error}"), &error);
                    }
                    _ => {}
                },
                Some(event) = consuming_events.next() => match event {
                    Event::Error(error) if !session.consuming.status().connected() => {
                        return End::failed(format!("the consuming connection failed: {error}"), &error);
                    }
                    _ => {}
                },
                _ = tick.tick() => {
                    self.progress.note();
                    if let Some(reason) = session.broken() {
                        return End::lost(reason);
                    }
                    if limit.is_some() && Instant::now() >= until {
                        return End::lost("all messages can be read again");
                    }
                }
                () = session.activity.unroutable(), if declared.elapsed() >= REDECLARE => {
                    let end = tokio::select! {
                        () = cancel.cancelled() => return End::Cancelled,
                        end = self.declare_again(session.consuming) => end,
                    };
                    if let Err(error) = end {
                        return End::lost(error);
                    }
                    declared = Instant::now();
                }
                Some(command) = commands.recv() => {
                    let end = tokio::select! {
                        () = cancel.cancelled() => return End::Cancelled,
                        end = self.runtime_topology.declare(session.consuming, command) => end,
                    };
                    if let Err(error) = end {
                        return End::lost(error);
                    }
                }
            }
        }
    }

    /// A message found no queue. If it is one of ours that somebody deleted, it is there again after this; those
    /// that we consume are missed by their consumers too, and come back with the next session.
    async fn declare_again(&mut self, connection: &Connection) -> Result<(), SessionError> {
        tracing::debug!("a message found no queue: everything is declared again");
        declare(connection, &self.topology.lasting(), &mut Names::new()).await?;
        self.runtime_topology.declare_all(connection).await
    }
}

/// Does something while it is shown that there is progress.
async fn ticking<T>(progress: SupervisorProgress, work: impl Future<Output = T>) -> T {
    tokio::pin!(work);
    let mut tick = interval(TICK);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = tick.tick() => progress.note(),
        }
    }
}

/// What must stay alive for a session to be one.
struct Watch<'a> {
    publishing: &'a Connection,
    consuming: &'a Connection,
    channel: &'a lapin::Channel,
    activity: PublisherActivity,
}

impl Watch<'_> {
    /// Looks for what ended without any event.
    fn broken(&self) -> Option<&'static str> {
        if !self.publishing.status().connected() {
            Some("the publishing connection is closed")
        } else if !self.consuming.status().connected() {
            Some("the consuming connection is closed")
        } else if !self.channel.status().connected() {
            Some("the publishing channel is closed")
        } else {
            None
        }
    }
}

/// The connection's events. There must be one listener only: lapin's listeners share one queue.
fn events(connection: &Connection) -> impl Stream<Item = Event> + Unpin {
    Box::pin(connection.events_listener())
}

async fn close(connection: &Connection) {
    // A broker that is gone does not answer; the connection's thread ends by its heartbeat then.
    let _ = timeout(END, connection.close(200, "bye".into())).await;
}
