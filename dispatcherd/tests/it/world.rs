//! A broker, a fake relayd and the real dispatcherd, in a place of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::{AttemptId, OperationId};
use aegir_protocol::name::NodeName;
use aegir_protocol::operation::Operation;
use aegir_testkit::{Broker, Process, SmallDisk, TestMinion};
use dispatcherd::journal::Tombstone;
use serde_json::{Value, json};

use crate::relayd::{DEADLINE, Relayd};

pub(crate) struct World {
    pub(crate) dispatcherd: Process,
    /// What [`restart`](Self::restart) starts.
    pub(crate) program: PathBuf,
    pub(crate) relayd: Relayd,
    pub(crate) node: NodeName,
    pub(crate) broker: Broker,
    suffix: String,
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) async fn start(settings: &str) -> Self {
        Self::on(Broker::for_tests().await.unwrap(), settings).await
    }

    pub(crate) async fn on(broker: Broker, settings: &str) -> Self {
        Self::in_directory(tempfile::tempdir().unwrap(), broker, settings).await
    }

    /// With its journal on a disk of its own; `None` where none can be made.
    pub(crate) async fn on_a_small_disk(size: &str, settings: &str) -> Option<(SmallDisk, Self)> {
        let directory = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(&directory.path().join("state"), size).unwrap()?;
        let broker = Broker::for_tests().await.unwrap();
        Some((disk, Self::in_directory(directory, broker, settings).await))
    }

    /// With a minion that it can log in on.
    pub(crate) async fn with_a_minion() -> (Self, TestMinion) {
        let directory = tempfile::tempdir().unwrap();
        let minion = TestMinion::start(&directory.path().join("web1")).await.unwrap();
        let settings = format!("[ssh]\nidentity_file = {:?}", minion.identity_file);
        let broker = Broker::for_tests().await.unwrap();
        (Self::in_directory(directory, broker, &settings).await, minion)
    }

    async fn in_directory(directory: tempfile::TempDir, broker: Broker, settings: &str) -> Self {
        let suffix = uuid::Uuid::new_v4().simple().to_string();
        let name = format!("main-{suffix}");
        let node: NodeName = format!("node-{suffix}").parse().unwrap();
        let relayd = Relayd::start(broker.url(), name.parse().unwrap(), name.parse().unwrap()).await;
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let config = format!(
            "backend = {name:?}\nnode = \"{node}\"\nfrontends = [{name:?}]\nstate_directory = \"state\"\n\
             runtime_directory = \"run\"\nroles = [{:?}]\n{settings}\n[broker]\nurl = {:?}\n\
             [ansible]\nplugins = {:?}\n[allow]\nprograms_on_dispatcher = true\n",
            here.join("tests/roles"),
            broker.url(),
            here.join("ansible"),
        );
        std::fs::write(directory.path().join("dispatcherd.toml"), config).unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_dispatcherd"));
        let dispatcherd = spawn(&program, directory.path());
        Self { dispatcherd, program, relayd, node, broker, suffix, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn attempt_directory(&self, attempt: AttemptId) -> AttemptDirectory {
        AttemptDirectory::of(&self.path("state"), attempt)
    }

    pub(crate) fn operation(&self, name: &str, variables: Value) -> Operation {
        let here = format!("main-{}", self.suffix);
        serde_json::from_value(json!({
            "id": OperationId::generate(), "attempt": 1, "name": name, "backend": here, "frontend": here,
            "target": {"kind": "site", "id": "1", "name": "example.test"}, "hosts": [],
            "variables": {"operation": variables}, "locks": [], "requested_by": null,
            "requested_at": "2026-01-01T00:00:00Z", "timeout_seconds": null, "retry_of": null,
            "traceparent": null,
        }))
        .unwrap()
    }

    /// One that waits for the file `gate`.
    pub(crate) fn sleeper(&self) -> Operation {
        self.operation("example.sleep", json!({"gate": self.path("gate")}))
    }

    pub(crate) fn open_gate(&self) {
        std::fs::write(self.path("gate"), "").unwrap();
    }

    /// Kills dispatcherd as a power cut would, the runners excepted.
    pub(crate) async fn kill(&mut self) {
        self.dispatcherd.signal(rustix::process::Signal::KILL).unwrap();
        self.dispatcherd.wait(DEADLINE).await.unwrap();
    }

    pub(crate) fn restart(&mut self) {
        self.dispatcherd = spawn(&self.program, self.directory.path());
    }

    /// Runs another of dispatcherd's commands on this node; gives its exit code and what it prints.
    pub(crate) fn command(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.started(arguments);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The same, not yet started.
    pub(crate) fn started(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcherd"));
        command.args(arguments).env("AEGIR_DISPATCHERD_CONFIG", self.path("dispatcherd.toml"));
        command
    }

    /// Waits until the attempt's tombstone says how it ended.
    pub(crate) async fn wait_for_tombstone(&self, attempt: AttemptId) -> Tombstone {
        let directory = self.attempt_directory(attempt);
        self.wait("the tombstone", || Tombstone::read(&directory).ok()).await
    }

    /// Waits until nothing is left of an attempt but its tombstone.
    pub(crate) async fn cleared(&self, attempt: AttemptId) {
        let directory = self.attempt_directory(attempt);
        let names = || -> Vec<_> {
            std::fs::read_dir(directory.path())
                .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect())
                .unwrap_or_default()
        };
        self.wait("the spool's removal", || (names() == ["ended.json"]).then_some(())).await;
    }

    pub(crate) async fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(Instant::now() < end, "{what}: not within {DEADLINE:?}\n{}", self.dispatcherd.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn spawn(program: &Path, directory: &Path) -> Process {
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(directory.join("dispatcherd.toml"));
    command.env("RUST_LOG", "debug,lapin=off");
    Process::spawn("dispatcherd", command, &directory.join("dispatcherd.log")).unwrap()
}
