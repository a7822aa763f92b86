//! Broker, relayd, dispatcherd, a minion and its nginx: all that an Operation passes through.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::broker::{self, Broker};
use crate::daemon::{Dispatcherd, DispatcherdBuilder, Relayd, RelaydBuilder, binary};
use crate::demo;
use crate::minion::TestMinion;
use crate::nginx::Nginx;
use crate::proxy::Proxy;

/// How long a catalog may take from dispatcherd to relayd.
const CATALOG: Duration = Duration::from_secs(60);

/// Everything on one machine. The order of the fields is the order in which it ends.
#[derive(Debug)]
pub struct Cluster {
    /// What frontend and backend are called.
    pub name: String,
    /// The backend.
    pub dispatcherd: Dispatcherd,
    /// The frontend.
    pub relayd: Relayd,
    /// The minion's web server, in user mode.
    pub nginx: Nginx,
    /// The minion, which hosts call `web1`.
    pub minion: TestMinion,
    /// The way from each daemon to the broker, if [`ClusterBuilder::faulty_network`] asked for it.
    pub network: Option<Network>,
    /// Between the two.
    pub broker: Broker,
    directory: TempDir,
}

/// Two proxies, so that each daemon can have troubles of its own.
#[derive(Debug)]
pub struct Network {
    /// Between relayd and the broker.
    pub relayd: Proxy,
    /// Between dispatcherd and the broker.
    pub dispatcherd: Proxy,
}

/// A step that describes a daemon further.
type Step<B> = Box<dyn FnOnce(B) -> B + Send>;

/// How to start one.
#[derive(Default)]
pub struct ClusterBuilder {
    relayd: Vec<Step<RelaydBuilder>>,
    dispatcherd: Vec<Step<DispatcherdBuilder>>,
    broker: Vec<Step<broker::BrokerBuilder>>,
    faulty_network: bool,
    tls: Option<String>,
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder").finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    /// Describes relayd further.
    #[must_use]
    pub fn relayd(mut self, step: impl FnOnce(RelaydBuilder) -> RelaydBuilder + Send + 'static) -> Self {
        self.relayd.push(Box::new(step));
        self
    }

    /// Describes dispatcherd further.
    #[must_use]
    pub fn dispatcherd(
        mut self,
        step: impl FnOnce(DispatcherdBuilder) -> DispatcherdBuilder + Send + 'static,
    ) -> Self {
        self.dispatcherd.push(Box::new(step));
        self
    }

    /// Describes the broker further, which is then a private one.
    #[must_use]
    pub fn broker(
        mut self,
        step: impl FnOnce(broker::BrokerBuilder) -> broker::BrokerBuilder + Send + 'static,
    ) -> Self {
        self.broker.push(Box::new(step));
        self
    }

    /// Puts a [`Proxy`] between each daemon and the broker.
    #[must_use]
    pub fn faulty_network(mut self) -> Self {
        self.faulty_network = true;
        self
    }

    /// Lets both daemons reach the broker over TLS, with these lines in their `[broker]` sections. The broker is to
    /// be described so that it listens for it.
    #[must_use]
    pub fn daemons_over_tls(mut self, settings: &str) -> Self {
        self.tls = Some(settings.to_owned());
        self
    }

    /// Starts everything and waits until relayd has the backend's catalog.
    ///
    /// # Errors
    ///
    /// If a part does not start; the message shows the end of its log.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("content")).context("cannot make the content root")?;
        let broker = if self.broker.is_empty() {
            Broker::for_tests().await?
        } else {
            let builder = Broker::builder(&at("broker"));
            self.broker.into_iter().fold(builder, |builder, step| step(builder)).start().await?
        };
        let tls = self.tls.unwrap_or_default();
        let url = match tls.as_str() {
            "" => broker.url().to_owned(),
            _ => format!("amqps://guest:guest@127.0.0.1:{}/%2f", broker.tls_port()?),
        };
        let network = if self.faulty_network {
            let proxy = || Proxy::start(&url);
            Some(Network { relayd: proxy()?, dispatcherd: proxy()? })
        } else {
            None
        };
        let (relayd_url, dispatcherd_url) = match &network {
            Some(network) => (network.relayd.url(), network.dispatcherd.url()),
            None => (url.as_str(), url.as_str()),
        };
        // Of a broker that others use too, only queues of its own.
        let name = if broker.is_shared() {
            format!("test-{}", uuid::Uuid::new_v4().simple())
        } else {
            "main".to_owned()
        };
        let minion = TestMinion::start(&at("minion")).await?;
        let nginx = Nginx::start(&at("nginx")).await?;
        let relayd = Relayd::builder(&at("relayd"), relayd_url)
            .broker_setting(&tls)
            .frontend(&name)
            .default_backend(&name);
        let relayd = self.relayd.into_iter().fold(relayd, |builder, step| step(builder)).start().await?;
        let node = if name == "main" { "node1" } else { name.as_str() };
        let dispatcherd = Dispatcherd::builder(&at("dispatcherd"), dispatcherd_url)
            .broker_setting(&tls)
            .frontend(&name)
            .backend(&name)
            .node(node)
            .content_root(&at("content"))
            .identity_file(&minion.identity_file);
        let dispatcherd =
            self.dispatcherd.into_iter().fold(dispatcherd, |builder, step| step(builder)).start().await?;
        let cluster = Cluster { name, dispatcherd, relayd, nginx, minion, network, broker, directory };
        cluster.wait_for_catalog().await?;
        Ok(cluster)
    }
}

impl Cluster {
    /// Starts one with the defaults.
    ///
    /// # Errors
    ///
    /// As [`ClusterBuilder::start`].
    pub async fn start() -> anyhow::Result<Self> {
        Self::builder().start().await
    }

    /// One to be described further.
    #[must_use]
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Where everything lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The one content root of dispatcherd.
    #[must_use]
    pub fn content_root(&self) -> PathBuf {
        self.directory.path().join("content")
    }

    /// The minion as a request names it.
    #[must_use]
    pub fn host(&self) -> Value {
        demo::host(&self.minion)
    }

    /// The variables of `static_site` that deploy `source` on the minion's nginx.
    #[must_use]
    pub fn site_variables(&self, source: &Path) -> Value {
        demo::site_variables(source, &self.directory.path().join("sites"), &self.nginx)
    }

    /// The command line, pointed at this relayd.
    ///
    /// # Errors
    ///
    /// If it can't be built.
    pub fn aegir(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("aegir")?);
        command
            .args(arguments)
            .env("AEGIR_URL", self.relayd.url())
            .env("AEGIR_TOKEN_FILE", self.relayd.token_file());
        Ok(command)
    }

    /// Waits until relayd knows what the backend can do.
    ///
    /// # Errors
    ///
    /// If it does not within a minute; the message shows the ends of both logs.
    pub async fn wait_for_catalog(&self) -> anyhow::Result<()> {
        let arrived = self.relayd.wait_for_catalog(CATALOG).await;
        arrived.with_context(|| format!("dispatcherd's log ends:\n{}", self.dispatcherd.log_tail()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::spawn_blocking;

    #[tokio::test]
    async fn a_round_trip_succeeds_before_and_after_both_daemons_are_restarted() {
        let mut cluster = Cluster::start().await.unwrap();
        for round in 0..2 {
            let mut check =
                cluster.aegir(&["run", "aegir.check", "--target", "backend:main", "--follow"]).unwrap();
            let check = spawn_blocking(move || check.output()).await.unwrap().unwrap();
            assert!(check.status.success(), "{check:?}");
            if round == 0 {
                cluster.dispatcherd.restart().await.unwrap();
                cluster.relayd.restart().await.unwrap();
            }
        }
    }
}
