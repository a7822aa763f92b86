//! What a schedule is played on: a broker, relayd, two nodes of one backend and a minion, with a network between
//! each daemon and the broker that can fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_client::Client;
use aegir_testkit::proxy::Mode;
use aegir_testkit::{Broker, Dispatcherd, Proxy, Relayd, TestMinion};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::clock::{self, Clock};
use super::disk::Disk;

const HEARTBEAT: &str = "heartbeat_seconds = 2";
/// How long relayd may be away altogether, while there are faults.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one answer may take; a frozen relayd takes the request and says nothing.
const REQUEST: Duration = Duration::from_secs(5);
const CATALOG: Duration = Duration::from_secs(60);

/// The order of the fields is the order in which it ends.
pub(super) struct ChaosSystem {
    pub(super) nodes: [ChaosNode; 2],
    pub(super) relayd: Relayd,
    pub(super) relayd_disk: Option<Disk>,
    pub(super) relayd_network: Proxy,
    pub(super) relayd_clock: Clock,
    pub(super) minion: TestMinion,
    pub(super) broker: Broker,
    pub(super) directory: PathBuf,
    /// Where the paths are short enough for sockets.
    _sockets: TempDir,
}

pub(super) struct ChaosNode {
    pub(super) dispatcherd: Dispatcherd,
    pub(super) disk: Option<Disk>,
    pub(super) network: Proxy,
    pub(super) clock: Clock,
}

impl ChaosSystem {
    /// Starts everything with its files in `directory`. With `disks`, each daemon's state has a file system of its own.
    pub(super) async fn start(directory: &Path, disks: bool) -> anyhow::Result<Self> {
        let at = |name: &str| directory.join(name);
        fs::create_dir_all(at("marks")).context("cannot make the directory for marks")?;
        let sockets = tempfile::tempdir().context("cannot make a temporary directory")?;
        let broker = Broker::builder(&at("broker")).start().await?;
        let minion = TestMinion::start(&at("minion")).await?;
        let disk = |path: PathBuf| disks.then(|| Disk::mount(&path)).transpose();
        let relayd_network = Proxy::start(broker.url())?;
        let relayd_disk = disk(at("relayd/state"))?;
        let mut relayd = Relayd::builder(&at("relayd"), relayd_network.url())
            .broker_setting(HEARTBEAT)
            .setting("lease_margin_seconds = 4");
        let library = clock::build(directory)?;
        let relayd_clock = Clock::new(at("relayd.clock"))?;
        for (name, value) in relayd_clock.variables(&library) {
            relayd = relayd.variable(name, &value);
        }
        let relayd = relayd.start().await?;
        let mut nodes = Vec::new();
        for name in ["node1", "node2"] {
            let network = Proxy::start(broker.url())?;
            let disk = disk(at(name).join("state"))?;
            let clock = Clock::new(at(name).with_extension("clock"))?;
            let mut dispatcherd = Dispatcherd::builder(&at(name), network.url())
                .node(name)
                .broker_setting(HEARTBEAT)
                .roles(&roles())
                .allow_programs()
                .identity_file(&minion.identity_file)
                .runtime_directory(&sockets.path().join(name))
                .setting("slots = 2\ntranscript_retention_seconds = 3600");
            for (name, value) in clock.variables(&library) {
                dispatcherd = dispatcherd.variable(name, &value);
            }
            nodes.push(ChaosNode { dispatcherd: dispatcherd.start().await?, disk, network, clock });
        }
        let Ok(nodes) = <[ChaosNode; 2]>::try_from(nodes) else { bail!("there are two nodes") };
        let mut system = Self {
            nodes,
            relayd,
            relayd_disk,
            relayd_network,
            relayd_clock,
            minion,
            directory: directory.to_owned(),
            _sockets: sockets,
            broker,
        };
        system.relayd.wait_for_catalog(CATALOG).await?;
        // RabbitMQ 3.10 forgets a quorum queue that is only seconds old when it is killed.
        system.broker.sync().await?;
        Ok(system)
    }

    /// One that knows that relayd may be away: it asks again.
    pub(super) fn frontend(&self) -> Client {
        self.relayd.client().clone().timeout(REQUEST).patience(PATIENCE)
    }

    /// The minion as a request names it.
    pub(super) fn host(&self) -> Value {
        json!({
            "name": "web1", "address": "127.0.0.1", "port": self.minion.port, "user": self.minion.user,
            "host_keys": [self.minion.host_key],
        })
    }

    pub(super) fn marks(&self, number: u64) -> PathBuf {
        self.directory.join("marks").join(number.to_string())
    }

    /// Every way to the broker: the nodes', then relayd's.
    pub(super) fn networks(&self) -> [&Proxy; 3] {
        [&self.nodes[0].network, &self.nodes[1].network, &self.relayd_network]
    }

    /// The nodes' clocks, then relayd's.
    pub(super) fn clocks(&self) -> [&Clock; 3] {
        [&self.nodes[0].clock, &self.nodes[1].clock, &self.relayd_clock]
    }

    /// Lets everything through.
    pub(super) fn heal_networks(&self) {
        for network in self.networks() {
            network.set(Mode::Pass);
        }
    }

    /// Ends both daemons in order, which they must be able to do.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.dispatcherd.stop().await?;
        }
        self.relayd.stop().await?;
        self.broker.kill().await
    }
}

impl ChaosNode {
    /// The directory of an attempt in this node's journal, whether or not it is there.
    pub(super) fn attempt(&self, id: &str, attempt: u32) -> PathBuf {
        self.dispatcherd.state_directory().join("operations").join(id).join(attempt.to_string())
    }
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/chaos")
}

fn roles() -> PathBuf {
    here().join("roles")
}

/// What the role's Tasks run.
pub(super) fn program() -> PathBuf {
    roles().join("chaos/files/act")
}
