//! The HTTP interface over a real store, without a broker.

mod api;
mod connections;
mod events;
mod listen;
mod pages;
mod refusals;
mod schemas;
mod script;
mod transcript;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::{SessionBuilder, Topology};
use aegir_catalog::{Catalog, Role};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::{BootTime, Chunk, Claim};
use aegir_protocol::operation::Target;
use aegir_protocol::record::{Finished, Output, Record, Started, Stream, TaskTitle};
use aegir_protocol::state::Outcome;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::catalogs::Catalogs;
use crate::changes::ChangeNotifier;
use crate::dispatch::{Control, Deadlines, Dispatch};
use crate::operations::{MacKey, Operations};
use crate::services::RelayServices;
use crate::sign_in::Token;
use crate::store::Store;
use crate::store::write::{Ingest, Settlement};

/// Nothing in these tests takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

/// A relayd without a broker.
struct HttpState {
    router: Router,
    services: RelayServices,
    store: Store,
    token: String,
    stop: CancellationToken,
    directory: tempfile::TempDir,
    _guards: (DropGuard, DropGuard),
}

/// What a backend `main` can do: print a text.
fn catalog() -> Catalog {
    let manifest = json!({
        "schema": "aegir.role/0", "title": "Example", "targets": ["site"],
        "operations": {"print": {"title": "Print", "tasks": ["say"]}},
        "tasks": {"say": {"shell": {"argv": ["/bin/echo", {"variable": "text"}], "where": "dispatcher"},
                          "variables": ["text"]}},
        "variables": {"text": {"type": "string", "scope": "site"}},
    });
    let role =
        Role { digest: String::new(), collection: None, manifest: serde_json::from_value(manifest).unwrap() };
    Catalog {
        backend: "main".parse().unwrap(),
        node: "n1".parse().unwrap(),
        recipient: String::new(),
        digest: String::new(),
        roles: BTreeMap::from([("example".parse().unwrap(), role)]),
        left_out: BTreeMap::new(),
    }
}

impl HttpState {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (store, writer) = Store::open(&directory.path().join("relayd.db")).await.unwrap();
        let token = Token::load_or_make(&directory.path().join("api-token")).unwrap();
        let token_text = std::fs::read_to_string(directory.path().join("api-token")).unwrap();
        let (stop, store_stop) = (CancellationToken::new(), CancellationToken::new());
        let (changes, catalogs) = (Arc::new(ChangeNotifier::default()), Arc::new(Catalogs::default()));
        let (control, _) = Control::new();
        let after = Arc::new(Dispatch {
            outbox: Arc::new(Notify::new()),
            control: control.clone(),
            changes: Arc::clone(&changes),
            catalogs: Arc::clone(&catalogs),
            deadlines: Deadlines::new(Duration::from_secs(60)),
        });
        tokio::spawn(writer.run(after, store_stop.clone()));
        catalogs.put(Arc::new(catalog()));
        let frontend = "main".parse().unwrap();
        // Nobody listens on port 1.
        let broker = aegir_amqp::BrokerConfig::from_url("amqp://127.0.0.1:1/%2f");
        let link = SessionBuilder::new(broker, "test", Topology::of_frontend(&frontend))
            .start(store_stop.clone(), &TaskTracker::new());
        let operations = Operations {
            frontend,
            default_backend: "main".parse().unwrap(),
            mac_key: MacKey([7; 32]),
            store: store.clone(),
            catalogs,
            changes,
            nodes: Arc::default(),
        };
        let services = RelayServices::new(operations, token, &link, control, Arc::default(), Arc::default());
        Self {
            router: super::router::router(services.clone(), stop.clone()),
            services,
            store,
            token: token_text.trim().to_owned(),
            _guards: (stop.clone().drop_guard(), store_stop.drop_guard()),
            stop,
            directory,
        }
    }

    /// Sends a request as it is.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        tokio::time::timeout(DEADLINE, self.router.clone().oneshot(request)).await.unwrap().unwrap()
    }

    /// Sends a request with the token.
    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Response<Body> {
        let bearer = format!("Bearer {}", self.token);
        self.send(method, path, &[("authorization", &bearer)], body).await
    }

    async fn get(&self, path: &str) -> Response<Body> {
        self.ask("GET", path, Body::empty()).await
    }

    async fn submit(&self) -> OperationId {
        let request = json!({"name": "example.print", "target": {"kind": "site", "name": "example.test"},
                             "variables": {"site": {"text": "x"}}, "requested_by": "<b>kim</b>\u{202e}x"});
        let response = self.ask("POST", "/api/v1/operations", request.to_string()).await;
        assert_eq!(response.status(), StatusCode::CREATED);
        document(response).await["id"].as_str().unwrap().parse().unwrap()
    }

    async fn ingest(&self, message: Ingest) {
        let settled = self.store.write(Arc::<[Ingest]>::from([message])).await.unwrap();
        assert_eq!(settled, [Settlement::Acknowledge]);
    }

    async fn claim(&self, id: OperationId) {
        let node = "n1".parse().unwrap();
        let asked_at = BootTime { boot: uuid::Uuid::nil(), milliseconds: 7 };
        self.ingest(Ingest::Claim(Claim { operation: id, attempt: Attempt::FIRST, node, asked_at })).await;
    }

    async fn chunk(&self, id: OperationId, offset: usize, payload: &[u8]) {
        let header = Chunk {
            operation: id,
            attempt: Attempt::FIRST,
            node: "n1".parse().unwrap(),
            offset: offset as u64,
            length: u32::try_from(payload.len()).unwrap(),
            crc32c: 0,
        };
        self.ingest(Ingest::Chunk(header, Bytes::copy_from_slice(payload))).await;
    }

    /// An Operation that has ended, and its transcript.
    async fn finished(&self, outputs: &[(Stream, &[u8])]) -> (OperationId, Vec<Vec<u8>>) {
        let id = self.submit().await;
        self.claim(id).await;
        let lines = transcript(id, outputs);
        self.chunk(id, 0, &lines.concat()).await;
        (id, lines)
    }
}

/// The lines of a transcript whose one Task prints this.
fn transcript(id: OperationId, outputs: &[(Stream, &[u8])]) -> Vec<Vec<u8>> {
    let at = Timestamp::UNIX_EPOCH;
    let started = Record::Started(Started {
        operation: id,
        attempt: Attempt::FIRST,
        name: "example.print".parse().unwrap(),
        target: Target {
            kind: "site".parse().unwrap(),
            id: "example.test".parse().unwrap(),
            name: "example.test".parse().unwrap(),
        },
        node: "n1".parse().unwrap(),
        version: "0".to_owned(),
        dry_run: false,
        check: false,
        digest: None,
        tasks: vec![TaskTitle {
            role: "example".parse().unwrap(),
            name: "say".parse().unwrap(),
            title: "Say".to_owned(),
            done_in: None,
        }],
    });
    let mut lines = vec![started.to_line(1, at)];
    for (stream, bytes) in outputs {
        let output = Record::Output(Output::new(1, *stream, None, 1, false, bytes));
        lines.push(output.to_line(lines.len() as u64 + 1, at));
    }
    let digest = Sha256::digest(lines.concat());
    let records = lines.len() as u64 + 1;
    let finished = Record::Finished(Finished {
        outcome: Outcome::Succeeded,
        reason: Code::Completed.because("it did"),
        records,
        sha256: hex::encode(digest),
    });
    lines.push(finished.to_line(records, at));
    lines
}

async fn bytes(response: Response<Body>) -> Bytes {
    let read = axum::body::to_bytes(response.into_body(), usize::MAX);
    tokio::time::timeout(DEADLINE, read).await.unwrap().unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(bytes(response).await.to_vec()).unwrap()
}

async fn document(response: Response<Body>) -> Value {
    serde_json::from_slice(&bytes(response).await).unwrap()
}

#[track_caller]
fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no header {name}")).to_str().unwrap()
}

/// The status and the code of a problem, and the pointer of its first field.
async fn problem(response: Response<Body>) -> (u16, String, Option<String>) {
    assert_eq!(header(&response, "content-type"), "application/problem+json");
    let status = response.status().as_u16();
    let problem = document(response).await;
    assert_eq!(problem["status"], status);
    let pointer = problem["errors"][0]["pointer"].as_str().map(str::to_owned);
    (status, problem["code"].as_str().unwrap().to_owned(), pointer)
}
