//! A broker, a relayd in this process, and names that no other test uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aegir_api::DeadLetter;
use aegir_catalog::{Catalog, Role};
use aegir_protocol::id::OperationId;
use aegir_protocol::message::encode;
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_protocol::request::Request;
use aegir_protocol::state::State;
use aegir_testkit::port::free_port;
use aegir_testkit::{Broker, SmallDisk};
use relayd::app::{App, WriterEnded};
use relayd::config::Config;
use relayd::services::RelayServices;
use relayd::store::DeadLetterFilter;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::node::Node;

/// The end of every wait in these tests.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) frontend: FrontendName,
    pub(crate) backend: BackendName,
    pub(crate) identity: age::x25519::Identity,
    directory: TempDir,
    running: Option<Running>,
}

struct Running {
    services: RelayServices,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), WriterEnded>>,
}

impl World {
    /// A broker and a relayd on it.
    pub(crate) async fn new() -> Self {
        Self::in_directory(tempfile::tempdir().unwrap()).await
    }

    /// The same with the store on a disk of its own; `None` where none can be made.
    pub(crate) async fn on_a_small_disk(size: &str) -> Option<(SmallDisk, Self)> {
        let directory = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(&directory.path().join("state"), size).unwrap()?;
        Some((disk, Self::in_directory(directory).await))
    }

    async fn in_directory(directory: TempDir) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(format!("debug,sqlx=warn,{}", aegir_amqp::LOG_DIRECTIVE))
            .with_writer(std::io::stderr)
            .try_init();
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let mut world = Self {
            // Whoever shares a broker shares its dead letters.
            broker: Broker::private().await.unwrap(),
            frontend: format!("f{unique}").parse().unwrap(),
            backend: format!("b{unique}").parse().unwrap(),
            identity: age::x25519::Identity::generate(),
            directory,
            running: None,
        };
        world.start().await;
        world
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config {
            frontend: self.frontend.clone(),
            default_backend: self.backend.clone(),
            state_directory: Some(self.state_directory()),
            broker: aegir_amqp::BrokerConfig::from_url(self.broker.url()),
            ..Config::default()
        };
        config.http.listen.set_port(free_port().unwrap());
        config
    }

    pub(crate) fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) async fn start(&mut self) {
        let app = App::start(self.config()).await.unwrap();
        let (services, cancel) = (app.services(), CancellationToken::new());
        let task = tokio::spawn(app.run(cancel.clone()));
        self.running = Some(Running { services, cancel, task });
        let services = self.services();
        eventually(async || services.diagnosis.readiness().await.is_ready().then_some(())).await;
    }

    /// Stops relayd; says how long it took.
    pub(crate) async fn stop(&mut self) -> Duration {
        let begin = tokio::time::Instant::now();
        let Running { services, cancel, task } = self.running.take().unwrap();
        drop(services);
        cancel.cancel();
        within(task).await.unwrap().unwrap();
        begin.elapsed()
    }

    pub(crate) fn services(&self) -> RelayServices {
        self.running.as_ref().unwrap().services.clone()
    }

    /// A node of this backend whose catalog has arrived.
    pub(crate) async fn node(&self, name: &str) -> Node {
        let node = Node::start(self, name).await;
        node.send(encode(&self.catalog(&node))).await;
        let services = self.services();
        eventually(async || (!services.backends.catalogs().catalogs.is_empty()).then_some(())).await;
        node
    }

    fn catalog(&self, node: &Node) -> Catalog {
        let manifest = json!({
            "schema": "aegir.role/0", "title": "Example", "targets": ["site"],
            "operations": { "print": { "title": "Print", "tasks": ["say"] } },
            "tasks": { "say": { "shell": { "argv": ["/bin/true"], "where": "dispatcher" }, "variables": ["password"] } },
            "variables": {
                "password": { "type": "string", "scope": "site", "secret": true, "optional": true },
            },
        });
        let round_trip = json!({
            "schema": "aegir.role/0", "title": "Aegir", "targets": ["backend"],
            "operations": { "check": { "title": "Check", "tasks": [] } },
        });
        let role = |manifest| Role {
            digest: String::new(),
            collection: None,
            manifest: serde_json::from_value(manifest).unwrap(),
        };
        Catalog {
            backend: self.backend.clone(),
            node: node.name.clone(),
            recipient: self.identity.to_public().to_string(),
            digest: "1".to_owned(),
            roles: BTreeMap::from([
                ("example".parse().unwrap(), role(manifest)),
                ("aegir".parse().unwrap(), role(round_trip)),
            ]),
            left_out: BTreeMap::new(),
        }
    }

    pub(crate) async fn submit(&self, site: &str) -> OperationId {
        self.services().operations.submit(request(site), None).await.unwrap().id
    }

    pub(crate) async fn becomes(&self, id: OperationId, wanted: State) {
        let services = self.services();
        let mut watch = services.operations.watch(id);
        within(async {
            loop {
                watch.borrow_and_update();
                let state = services.operations.detail(id).await.unwrap().summary.state;
                if state == wanted {
                    return;
                }
                assert!(state.outcome().is_none(), "{state} instead of {wanted}");
                watch.changed().await.unwrap();
            }
        })
        .await;
    }

    /// The newest dead letter, once there is one.
    pub(crate) async fn dead_letter(&self) -> DeadLetter {
        let services = self.services();
        let newest = DeadLetterFilter { limit: Some(1), ..DeadLetterFilter::default() };
        eventually(async || services.dead_letters.list(&newest).await.unwrap().letters.pop()).await
    }

    /// relayd's whole copy of a transcript.
    pub(crate) async fn copy(&self, id: OperationId) -> Vec<u8> {
        let mut copy = Vec::new();
        loop {
            let piece = self.services().operations.raw(id, None, copy.len() as u64, 1 << 20).await.unwrap();
            copy.extend_from_slice(&piece.bytes);
            if piece.end {
                return copy;
            }
        }
    }
}

pub(crate) fn request(site: &str) -> Request {
    serde_json::from_value(json!({"name": "example.print", "target": {"kind": "site", "name": site}}))
        .unwrap()
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
