//! `aegir check`: one verdict for each hop of the way from the API to a minion, each with its time.

use std::time::Duration;

use aegir_api::{CheckReport, CheckRequest, Hop, Pause};
use aegir_protocol::id::OperationId;
use aegir_protocol::limits::HEARTBEAT_INTERVAL;
use aegir_protocol::message::{Echo, Heartbeat, ToNode};
use aegir_protocol::name::{BackendName, NodeName};
use aegir_protocol::operation::Host;
use aegir_protocol::request::{Request, RequestTarget};
use aegir_protocol::state::{Reason, State};
use tokio::time::{Instant, sleep, timeout};

use super::service::Diagnosis;

/// How long to wait for a first node: whoever has just started hears the next heartbeat.
const HEARD_WITHIN: Duration = HEARTBEAT_INTERVAL.saturating_add(Duration::from_secs(1));
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a node may take to answer.
const ECHO: Duration = Duration::from_secs(5);
/// How long an Operation without Tasks may take.
const ROUND_TRIP: Duration = Duration::from_secs(30);
/// How long looking at a minion may take.
const MINION: Duration = Duration::from_secs(60);

impl Diagnosis {
    /// Looks at each hop in the order of the way. After the first that is closed, those behind it are left out.
    pub async fn check(&self, request: CheckRequest) -> CheckReport {
        let backend = request.backend.unwrap_or_else(|| self.operations.default_backend.clone());
        let mut hops = Vec::new();
        let ok = self.walk(&backend, &request.hosts, &mut hops).await.is_some();
        CheckReport { ok, hops }
    }

    /// `None` when a hop is closed.
    async fn walk(&self, backend: &BackendName, hosts: &[Host], hops: &mut Vec<Hop>) -> Option<()> {
        let store = async {
            self.probe_store().await?;
            let note = self.dead_letters.note().await.map_err(|problem| problem.detail)?;
            Ok(format!("written and read back{note}"))
        };
        hop(hops, "store".to_owned(), store).await?;
        let broker = async {
            self.broker_state()?;
            let address = self.link.address();
            let greeting = self.link.greeting().await.map_err(|error| format!("{address}: {error}"))?;
            let lacks = greeting.lacks();
            if lacks.is_empty() && !greeting.is_too_old() {
                return Ok(format!("connected to {address}: {greeting}"));
            }
            let lacks =
                if lacks.is_empty() { String::new() } else { format!(" It lacks {}.", lacks.join(", ")) };
            Err(format!("{address} is {greeting}.{lacks} RabbitMQ 3.10 or newer is needed"))
        };
        hop(hops, "broker".to_owned(), broker).await?;
        let nodes = self.heard_of(backend).await;
        if nodes.is_empty() {
            let nobody = async {
                Err(format!(
                    "no dispatcherd of backend {backend} sent a heartbeat within {HEARD_WITHIN:?}. Start one, and name {} \
                     under `frontends` in its config",
                    self.operations.frontend
                ))
            };
            hop(hops, "dispatcherd".to_owned(), nobody).await?;
        }
        for node in nodes {
            hop(hops, format!("dispatcherd {node}"), self.echo(&node)).await?;
        }
        self.catalog_of(backend).await;
        hop(hops, "round trip".to_owned(), self.round_trip(backend)).await?;
        for host in hosts {
            hop(hops, format!("minion {}", host.name), self.verify(backend, host)).await?;
        }
        Some(())
    }

    async fn heard_of(&self, backend: &BackendName) -> Vec<NodeName> {
        let end = Instant::now() + HEARD_WITHIN;
        loop {
            let nodes = self.nodes.alive(backend);
            if !nodes.is_empty() || Instant::now() >= end {
                return nodes;
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits for the backend's catalog, which follows a node's first heartbeat. Without it the round trip says so.
    async fn catalog_of(&self, backend: &BackendName) {
        let end = Instant::now() + HEARD_WITHIN;
        while self.backends.catalog(backend).is_none() && Instant::now() < end {
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn echo(&self, node: &NodeName) -> Result<String, String> {
        let asked = self.echoes.ask();
        let echo = Echo { id: asked.id, frontend: self.operations.frontend.clone() };
        let id = asked.id;
        self.control.send(node.clone(), ToNode::Echo(echo));
        let mut asked = asked;
        match timeout(ECHO, &mut asked.answer).await {
            Ok(Ok(echoed)) if echoed.id == id => Ok("answered".to_owned()),
            Ok(_) | Err(_) => Err(format!("no answer within {ECHO:?}; see the log of dispatcherd on {node}")),
        }
    }

    /// Why nothing starts on a backend, if that is known: asking for an Operation would only take long.
    async fn closed(&self, backend: &BackendName) -> Result<Option<String>, String> {
        let pauses = self.store.pauses().await.map_err(|error| error.to_string())?;
        if let Some(pause) = pauses.get(backend) {
            return Ok(Some(paused(backend, pause)));
        }
        let nodes = self.nodes.list().into_iter().filter(|node| !node.silent);
        let nodes: Vec<_> =
            nodes.map(|node| node.heartbeat).filter(|heartbeat| heartbeat.backend == *backend).collect();
        if nodes.is_empty() || nodes.iter().any(|heartbeat| heartbeat.accepting) {
            return Ok(None);
        }
        let why = |heartbeat: &Heartbeat| {
            let reason = heartbeat.closed.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}{reason}", heartbeat.node)
        };
        let nodes: Vec<_> = nodes.iter().map(why).collect();
        Ok(Some(format!("no dispatcherd of backend {backend} accepts Operations now; {}", nodes.join("; "))))
    }

    async fn round_trip(&self, backend: &BackendName) -> Result<String, String> {
        if let Some(why) = self.closed(backend).await? {
            return Err(why);
        }
        let parse = |error: aegir_protocol::name::InvalidName| error.to_string();
        let target = RequestTarget {
            kind: "backend".parse().map_err(parse)?,
            id: None,
            name: backend.as_str().parse().map_err(parse)?,
        };
        let request = request("aegir.check", target, backend)?;
        self.run(request, ROUND_TRIP).await
    }

    async fn verify(&self, backend: &BackendName, host: &Host) -> Result<String, String> {
        let parse = |error: aegir_protocol::name::InvalidName| error.to_string();
        let target = RequestTarget {
            kind: "host".parse().map_err(parse)?,
            id: None,
            name: host.name.as_str().parse().map_err(parse)?,
        };
        let mut request = request("minion.verify", target, backend)?;
        request.hosts.push(host.clone());
        self.run(request, MINION).await
    }

    /// Submits an Operation and waits for its end. One that takes too long is called off, so that it does not
    /// hold its locks.
    async fn run(&self, request: Request, limit: Duration) -> Result<String, String> {
        let accepted = self.operations.submit(request, None).await.map_err(|problem| problem.detail)?;
        let id = accepted.id;
        match timeout(limit, self.end_of(id)).await {
            Ok(ended) => {
                let (state, reason) = ended?;
                let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
                if state == State::Succeeded {
                    Ok(format!("Operation {id} succeeded"))
                } else {
                    Err(format!("Operation {id} {state}{why}; see `aegir log {id}`"))
                }
            }
            Err(_) => {
                let found = self.store.state_of(id).await.map_err(|error| error.to_string())?;
                let state = found.unwrap_or(State::Waiting);
                // It may have ended this very moment.
                let _ = self.operations.cancel(id, Some("aegir check".to_owned())).await;
                Err(format!(
                    "Operation {id} was canceled because it was still {state} after {limit:?}; {}",
                    advice(state)
                ))
            }
        }
    }

    async fn end_of(&self, id: OperationId) -> Result<(State, Option<Reason>), String> {
        let mut watch = self.operations.watch(id);
        loop {
            watch.borrow_and_update();
            let summary = self.operations.detail(id).await.map_err(|problem| problem.detail)?.summary;
            if summary.state.outcome().is_some() {
                return Ok((summary.state, summary.reason));
            }
            watch.changed().await.map_err(|_| "relayd is stopping".to_owned())?;
        }
    }
}

fn paused(backend: &BackendName, pause: &Pause) -> String {
    let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let why = pause.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!(
        "backend {backend} has been paused{by} since {:.0}{why}; `aegir resume {backend}` ends the pause",
        pause.since
    )
}

fn advice(state: State) -> &'static str {
    match state {
        State::Waiting => "other Operations hold its locks",
        State::Queued => "no dispatcherd has started it: all slots may be in use, see `aegir nodes`",
        State::Claimed | State::Running => "see its log and the load of its node",
        State::Succeeded | State::Failed | State::Canceled | State::Rejected | State::Lost => {
            "it has just ended"
        }
    }
}

fn request(name: &str, target: RequestTarget, backend: &BackendName) -> Result<Request, String> {
    Ok(Request {
        name: name.parse().map_err(|error: aegir_protocol::name::InvalidName| error.to_string())?,
        target,
        backend: Some(backend.clone()),
        hosts: Vec::new(),
        variables: std::collections::BTreeMap::new(),
        locks: Vec::new(),
        requested_by: Some("aegir check".to_owned()),
        priority: 9,
        dry_run: false,
        timeout_seconds: Some(60),
        idempotency_key: None,
        traceparent: None,
    })
}

/// Adds the verdict. `None` when the hop is closed.
async fn hop(
    hops: &mut Vec<Hop>,
    name: String,
    look: impl Future<Output = Result<String, String>>,
) -> Option<()> {
    let begin = Instant::now();
    let result = look.await;
    let ok = result.is_ok();
    let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let message = result.unwrap_or_else(|message| message);
    hops.push(Hop { name, ok, milliseconds, message });
    ok.then_some(())
}
