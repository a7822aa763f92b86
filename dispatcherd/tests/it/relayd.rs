//! A relayd that is none: it grants, receipts and remembers, as it is told to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aegir_amqp::topology::{CONTROL, OPERATIONS, status_queue, transcripts_queue};
use aegir_amqp::{BrokerConfig, BrokerSession, Consume, Delivery, Outgoing, SessionBuilder, Topology};
use aegir_catalog::Catalog;
use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{
    Cancel, Claim, Echo, Echoed, Grant, Heartbeat, Message, Receipt, Replay, Report, ToFrontend, Unknown,
    decode, decode_to_frontend, encode,
};
use aegir_protocol::name::{BackendName, FrontendName, NodeName};
use aegir_protocol::operation::Operation;
use aegir_protocol::record::Header;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long anything may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What it was told, and how it is to answer.
#[derive(Debug)]
pub(crate) struct State {
    /// Whether claims are granted; `None` leaves them unanswered.
    pub(crate) grant: Option<bool>,
    /// Whether receipts are sent.
    pub(crate) receipts: bool,
    /// Whether it says of each attempt whose chunks come that it has no such attempt.
    pub(crate) unknown: bool,
    /// The chunks that are taken for lost, by their number.
    pub(crate) lose: Vec<u64>,
    pub(crate) transcripts: HashMap<AttemptId, Vec<u8>>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) reports: Vec<Report>,
    pub(crate) catalogs: Vec<Catalog>,
    pub(crate) echoes: Vec<Echoed>,
    pub(crate) heartbeats: Vec<Heartbeat>,
    pub(crate) chunks: u64,
    pub(crate) replays: u64,
}

impl State {
    pub(crate) fn text(&self, attempt: AttemptId) -> String {
        let bytes = self.transcripts.get(&attempt).map(Vec::as_slice).unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    }

    pub(crate) fn complete(&self, attempt: AttemptId) -> bool {
        self.transcripts.get(&attempt).is_some_and(|bytes| finished(bytes))
    }
}

pub(crate) struct Relayd {
    state: Arc<Mutex<State>>,
    news: watch::Receiver<u64>,
    link: BrokerSession,
    pub(crate) frontend: FrontendName,
    backend: BackendName,
    cancel: CancellationToken,
}

impl Drop for Relayd {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn finished(bytes: &[u8]) -> bool {
    let Some(body) = bytes.strip_suffix(b"\n") else { return false };
    let start = body.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
    Header::read(&body[start..]).is_ok_and(|header| header.kind == "finished")
}

struct Hand {
    state: Arc<Mutex<State>>,
    link: BrokerSession,
    news: watch::Sender<u64>,
}

impl Relayd {
    pub(crate) async fn start(url: &str, frontend: FrontendName, backend: BackendName) -> Self {
        let mut topology = Topology::of_frontend(&frontend);
        topology.add(Topology::of_backend(&backend));
        let mut builder = SessionBuilder::new(BrokerConfig::from_url(url), "relayd of a test", topology);
        let (mut told, _) = builder.consume(Consume::queue(transcripts_queue(&frontend), 64));
        let (mut beats, _) =
            builder.consume(Consume::queue(status_queue(&frontend), 64).settled_on_arrival());
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        let link = builder.start(cancel.clone(), &tracker);
        let state = Arc::new(Mutex::new(State {
            grant: Some(true),
            receipts: true,
            unknown: false,
            lose: Vec::new(),
            transcripts: HashMap::new(),
            claims: Vec::new(),
            reports: Vec::new(),
            catalogs: Vec::new(),
            echoes: Vec::new(),
            heartbeats: Vec::new(),
            chunks: 0,
            replays: 0,
        }));
        let (news, seen) = watch::channel(0);
        let hand = Hand { state: Arc::clone(&state), link: link.clone(), news: news.clone() };
        tracker.spawn(async move {
            while let Some(delivery) = told.recv().await {
                hand.take(delivery).await;
            }
        });
        let beaten = Arc::clone(&state);
        tracker.spawn(async move {
            while let Some(delivery) = beats.recv().await {
                let heartbeat = decode::<Heartbeat>(&delivery.body()).unwrap();
                beaten.lock().unwrap().heartbeats.push(heartbeat);
                news.send_modify(|count| *count += 1);
                let _ = delivery.ack().await;
            }
        });
        assert!(tokio::time::timeout(DEADLINE, link.up()).await.unwrap());
        Self { state, news: seen, link, frontend, backend, cancel }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let mut news = self.news.clone();
        let wait = async {
            while !holds(&self.state()) {
                news.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(DEADLINE, wait).await.is_err() {
            panic!("{what}: did not happen within {DEADLINE:?}; {:?}", Summary(&self.state()));
        }
    }

    pub(crate) async fn submit(&self, operation: &Operation) {
        self.publish(Outgoing::new(OPERATIONS, self.backend.as_str(), encode(operation))).await;
    }

    /// Anything at all on the backend's queue.
    pub(crate) async fn submit_bytes(&self, bytes: Vec<u8>) {
        self.publish(Outgoing::new(OPERATIONS, self.backend.as_str(), bytes)).await;
    }

    pub(crate) async fn send<M: Message>(&self, node: &NodeName, message: &M) {
        self.publish(Outgoing::new(CONTROL, node.as_str(), encode(message))).await;
    }

    pub(crate) async fn cancel(&self, node: &NodeName, attempt: AttemptId) {
        let cancel = Cancel {
            operation: attempt.operation,
            attempt: attempt.attempt,
            requested_by: Some("somebody".to_owned()),
        };
        self.send(node, &cancel).await;
    }

    pub(crate) async fn echo(&self, node: &NodeName, id: uuid::Uuid) {
        self.send(node, &Echo { id, frontend: self.frontend.clone() }).await;
    }

    async fn publish(&self, outgoing: Outgoing) {
        self.link.publisher().publish(outgoing).await.unwrap();
    }
}

struct Summary<'a>(&'a State);

impl std::fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let transcripts = self.0.transcripts.iter().map(|(attempt, bytes)| (attempt, bytes.len()));
        f.debug_struct("State")
            .field("claims", &self.0.claims)
            .field("reports", &self.0.reports)
            .field("chunks", &self.0.chunks)
            .field("replays", &self.0.replays)
            .field("transcripts", &transcripts.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Hand {
    async fn take(&self, delivery: Delivery) {
        let message = decode_to_frontend(delivery.content_type(), &delivery.body()).unwrap();
        match message {
            ToFrontend::Chunk(header, payload) => {
                let attempt = AttemptId { operation: header.operation, attempt: header.attempt };
                let answer = self.state.lock().unwrap().append(attempt, header.offset, &payload);
                match answer {
                    Some(Answer::Receipt(offset, complete)) => {
                        let receipt = Receipt {
                            operation: header.operation,
                            attempt: header.attempt,
                            offset,
                            complete,
                        };
                        self.send(&header.node, &receipt).await;
                    }
                    Some(Answer::Replay(offset)) => {
                        let replay = Replay { operation: header.operation, attempt: header.attempt, offset };
                        self.send(&header.node, &replay).await;
                    }
                    Some(Answer::Unknown) => {
                        let (operation, attempt) = (header.operation, header.attempt);
                        let reason = Code::NoSuchOperation.because("a test says so");
                        self.send(&header.node, &Unknown { operation, attempt, reason }).await;
                    }
                    None => {}
                }
            }
            ToFrontend::Claim(claim) => {
                let grant = {
                    let mut state = self.state.lock().unwrap();
                    state.claims.push(claim.clone());
                    state.grant
                };
                if let Some(granted) = grant {
                    let reason = (!granted).then(|| Code::ClaimRefused.because("another node has it"));
                    let (operation, attempt) = (claim.operation, claim.attempt);
                    self.send(&claim.node, &Grant { operation, attempt, granted, reason, lease: None }).await;
                }
            }
            ToFrontend::Report(report) => self.state.lock().unwrap().reports.push(report),
            ToFrontend::Catalog(catalog, _) => self.state.lock().unwrap().catalogs.push((*catalog).into()),
            ToFrontend::Echoed(echoed) => self.state.lock().unwrap().echoes.push(echoed),
        }
        self.news.send_modify(|count| *count += 1);
        // With the broker away it comes again, as the real one's would.
        let _ = delivery.ack().await;
    }

    /// What gets lost with the broker is asked for again.
    async fn send<M: Message>(&self, node: &NodeName, message: &M) {
        let outgoing = Outgoing::new(CONTROL, node.as_str(), encode(message));
        let _ = self.link.publisher().publish(outgoing).await;
    }
}

enum Answer {
    Receipt(u64, bool),
    Replay(u64),
    Unknown,
}

impl State {
    fn append(&mut self, attempt: AttemptId, offset: u64, payload: &[u8]) -> Option<Answer> {
        self.chunks += 1;
        assert!(payload.ends_with(b"\n"), "a chunk holds whole records");
        if self.lose.contains(&self.chunks) {
            return None;
        }
        if self.unknown {
            return Some(Answer::Unknown);
        }
        let has = self.transcripts.entry(attempt).or_default();
        let end = has.len() as u64;
        if offset > end {
            self.replays += 1;
            return Some(Answer::Replay(end));
        }
        let known = usize::try_from(end - offset).unwrap();
        if let Some(new) = payload.get(known..) {
            assert_eq!(&has[usize::try_from(offset).unwrap()..], &payload[..known], "repeated bytes differ");
            has.extend_from_slice(new);
        }
        let complete = finished(has);
        self.receipts.then_some(Answer::Receipt(has.len() as u64, complete))
    }
}
