//! A private RabbitMQ node, the broker that `AEGIR_TEST_AMQP_URL` names, or one in a container of the image that
//! `AEGIR_TEST_BROKER_IMAGE` names.
//!
//! A private node has its own name, ports, cookie, data and `epmd`, listens on 127.0.0.1 only and is gone when the
//! [`Broker`] is dropped or the process that holds it ends. It runs without plug-ins.

mod configuration;
#[cfg(feature = "containers")]
mod container;
mod environment;
mod node;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::authority::{Authority, Identity};
use crate::port::free_port;
use crate::process::{Process, tail};
pub use environment::{IMAGE_VARIABLE, URL_VARIABLE};

use configuration::{Tls, configure};
use node::{RabbitmqNode, start_epmd};

/// Why a broker can't be killed, or asked for what only its node knows.
const NOT_OURS: &str = "AEGIR_TEST_AMQP_URL or AEGIR_TEST_BROKER_IMAGE is set, so this is no private node: a test that needs one asks for it";
const STOP: Duration = Duration::from_secs(60);
const LOG: Duration = Duration::from_secs(60);

/// A broker for tests.
#[derive(Debug)]
pub struct Broker {
    url: String,
    node: Option<RabbitmqNode>,
    #[cfg(feature = "containers")]
    container: Option<container::Container>,
    _directory: Option<TempDir>,
}

/// How to start a private node; every field has a default.
#[derive(Debug)]
pub struct BrokerBuilder {
    directory: PathBuf,
    amqp_port: Option<u16>,
    dist_port: Option<u16>,
    epmd_port: Option<u16>,
    node_name: Option<String>,
    settings: String,
    advanced: String,
    tls: Option<Tls>,
}

impl BrokerBuilder {
    /// The port for AMQP clients. The default is a free one.
    #[must_use]
    pub fn amqp_port(mut self, port: u16) -> Self {
        self.amqp_port = Some(port);
        self
    }

    /// The port for Erlang's distribution, which `rabbitmqctl` uses. The default is a free one.
    #[must_use]
    pub fn dist_port(mut self, port: u16) -> Self {
        self.dist_port = Some(port);
        self
    }

    /// The port of the node's own `epmd`. The default is a free one.
    #[must_use]
    pub fn epmd_port(mut self, port: u16) -> Self {
        self.epmd_port = Some(port);
        self
    }

    /// The node's name, without a host. The data of an earlier start is found under the same name only, so
    /// whoever starts twice on one directory sets it. The default is unique.
    #[must_use]
    pub fn node_name(mut self, name: &str) -> Self {
        self.node_name = Some(name.to_owned());
        self
    }

    /// A line for the end of its `rabbitmq.conf`, such as `consumer_timeout = 5000`.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Its `advanced.config`: Erlang terms, for what `rabbitmq.conf` has no name for.
    #[must_use]
    pub fn advanced(mut self, terms: &str) -> Self {
        terms.clone_into(&mut self.advanced);
        self
    }

    /// Listens for TLS too, as `identity`. With `mutual`, clients must show a certificate of the same authority.
    #[must_use]
    pub fn tls(mut self, authority: &Authority, identity: Identity, mutual: bool) -> Self {
        self.tls = Some(Tls { authority: authority.certificate().to_owned(), identity, mutual });
        self
    }

    /// Starts the node and waits until it answers AMQP clients.
    ///
    /// # Errors
    ///
    /// If RabbitMQ is not installed, a port is taken, or the node does not come up; the message shows the end of
    /// its log.
    pub async fn start(self) -> anyhow::Result<Broker> {
        let or_free = |port: Option<u16>| port.map_or_else(free_port, Ok);
        let amqp_port = or_free(self.amqp_port)?;
        let dist_port = or_free(self.dist_port)?;
        let epmd_port = or_free(self.epmd_port)?;
        let directory = self.directory;
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let directory = directory.canonicalize().context("the broker's directory has no absolute path")?;
        let label = self.node_name.unwrap_or_else(|| format!("aegir-{}", uuid::Uuid::new_v4().simple()));
        let mut settings = self.settings;
        let tls_port = self.tls.as_ref().map(|_| free_port()).transpose()?;
        if let (Some(tls), Some(port)) = (&self.tls, tls_port) {
            settings.push_str(&tls.configure(&directory, port)?);
        }
        configure(&directory, amqp_port, &settings, &self.advanced)?;
        let epmd = start_epmd(&directory, epmd_port).await?;
        let name = format!("{label}@localhost");
        let mut node = RabbitmqNode {
            directory,
            name,
            amqp_port,
            tls_port,
            dist_port,
            epmd_port,
            server: None,
            _epmd: epmd,
        };
        node.start().await?;
        let url = format!("amqp://guest:guest@127.0.0.1:{amqp_port}/%2f");
        Ok(Broker { node: Some(node), ..Broker::at(url) })
    }
}

impl Broker {
    /// Starts a private node with free ports and its data in `directory`.
    ///
    /// # Errors
    ///
    /// As [`BrokerBuilder::start`].
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::builder(directory).start().await
    }

    /// A private node with its data in `directory`, to be described further.
    #[must_use]
    pub fn builder(directory: &Path) -> BrokerBuilder {
        let directory = directory.to_owned();
        BrokerBuilder {
            directory,
            amqp_port: None,
            dist_port: None,
            epmd_port: None,
            node_name: None,
            settings: String::new(),
            advanced: "[].\n".to_owned(),
            tls: None,
        }
    }

    /// The broker that `AEGIR_TEST_AMQP_URL` names, a container of the image that `AEGIR_TEST_BROKER_IMAGE` names, or
    /// a private node in a temporary directory. A test that calls this uses names of its own for everything that it
    /// declares, and neither kills nor pauses it.
    ///
    /// # Errors
    ///
    /// As [`BrokerBuilder::start`], or if the container does not start.
    pub async fn for_tests() -> anyhow::Result<Self> {
        if let Ok(url) = std::env::var(URL_VARIABLE) {
            return Ok(Self::at(url));
        }
        if let Ok(image) = std::env::var(IMAGE_VARIABLE) {
            return Self::of_image(&image).await;
        }
        Self::private().await
    }

    /// A container of an image that `cargo xtask images` builds, removed when this is dropped.
    ///
    /// # Errors
    ///
    /// If there is no such image, or the broker in it does not start.
    #[cfg(feature = "containers")]
    pub async fn of_image(image: &str) -> anyhow::Result<Self> {
        let (container, url) = container::start(image).await?;
        Ok(Self { container: Some(container), ..Self::at(url) })
    }

    #[cfg(not(feature = "containers"))]
    #[expect(clippy::unused_async, reason = "with the feature it waits for the container")]
    async fn of_image(image: &str) -> anyhow::Result<Self> {
        bail!(
            "{IMAGE_VARIABLE} names {image}: the test kit starts containers with its feature `containers` only"
        )
    }

    fn at(url: String) -> Self {
        Self {
            url,
            node: None,
            #[cfg(feature = "containers")]
            container: None,
            _directory: None,
        }
    }

    /// A private node in a temporary directory, whatever the environment says: for tests that kill it.
    ///
    /// # Errors
    ///
    /// As [`BrokerBuilder::start`].
    pub async fn private() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        let broker = Self::start(directory.path()).await?;
        Ok(Self { _directory: Some(directory), ..broker })
    }

    /// Where AMQP clients connect, credentials included.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether others use it too, so that names must differ from theirs.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        #[cfg(feature = "containers")]
        let contained = self.container.is_some();
        #[cfg(not(feature = "containers"))]
        let contained = false;
        self.node.is_none() && !contained
    }

    /// The port for AMQP clients.
    ///
    /// # Errors
    ///
    /// If this is not a private node.
    pub fn port(&self) -> anyhow::Result<u16> {
        match &self.node {
            Some(node) => Ok(node.amqp_port),
            None => bail!("{NOT_OURS}"),
        }
    }

    /// The port for AMQP clients that come over TLS.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn tls_port(&self) -> anyhow::Result<u16> {
        self.node.as_ref().and_then(|node| node.tls_port).context("this broker does not speak TLS")
    }

    /// The last lines of the node's log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.node.as_ref().map(|node| tail(&node.log())).unwrap_or_default()
    }

    /// All of the node's log.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |node: &RabbitmqNode| std::fs::read(node.log()).unwrap_or_default();
        String::from_utf8_lossy(&self.node.as_ref().map(read).unwrap_or_default()).into_owned()
    }

    /// Waits until the node's log holds a text.
    ///
    /// # Errors
    ///
    /// If it does not within a minute; the message shows the end of the log.
    pub async fn logs(&self, text: &str) -> anyhow::Result<()> {
        let end = Instant::now() + LOG;
        while !self.log().contains(text) {
            if Instant::now() > end {
                bail!("the broker does not log {text:?}; its log ends:\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Kills the node at once, as a power cut would.
    ///
    /// # Errors
    ///
    /// If this is not a private node, or the kernel does not let go of it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.node_mut()?.server.take() {
            server.kill().await?;
        }
        Ok(())
    }

    /// Shuts the node down in order.
    ///
    /// # Errors
    ///
    /// If this is not a private node, or it does not end within a minute.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.node_mut()?.server.take() {
            server.terminate(STOP).await?;
        }
        Ok(())
    }

    /// Starts the node again on the same data and ports, after [`kill`](Self::kill) or [`stop`](Self::stop), or
    /// kills it first if it runs.
    ///
    /// # Errors
    ///
    /// As [`BrokerBuilder::start`].
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.node_mut()?.start().await
    }

    /// Freezes the node: its sockets stay open and nothing answers.
    ///
    /// # Errors
    ///
    /// If this is not a private node, or it does not run.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.running()?.signal_group(Signal::STOP)
    }

    /// Lets a frozen node go on.
    ///
    /// # Errors
    ///
    /// If this is not a private node, or it does not run.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.running()?.signal_group(Signal::CONT)
    }

    /// Runs `rabbitmqctl` against the node and gives what it printed.
    ///
    /// # Errors
    ///
    /// If this is not a private node, or the command fails or takes longer than a minute.
    pub async fn control(&mut self, arguments: &[&str]) -> anyhow::Result<String> {
        self.node_mut()?.control(arguments).await
    }

    /// Makes the node write to disk which quorum queues it has.
    ///
    /// RabbitMQ 3.10 does so seconds after a queue was declared. A node that is killed before forgets the
    /// queue's log, confirmed messages included, and comes back with a queue that has no leader. A test that
    /// declares a queue and then kills the node calls this between the two; queues of real installations are
    /// older than that.
    ///
    /// # Errors
    ///
    /// As [`control`](Self::control).
    pub async fn sync(&mut self) -> anyhow::Result<()> {
        self.control(&["eval", "ok = dets:sync(ra_directory_reverse)."]).await.map(drop)
    }

    /// Waits up to a minute for a queue that somebody is going to declare, then does as [`sync`](Self::sync).
    ///
    /// # Errors
    ///
    /// As [`control`](Self::control), and if the queue is not declared.
    pub async fn sync_once_there(&mut self, queue: &str) -> anyhow::Result<()> {
        let wait = format!(
            "Name = rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>), \
             Wait = fun Wait(0) -> {{error, not_declared}}; \
                        Wait(N) -> case rabbit_amqqueue:exists(Name) of \
                            true -> ok; \
                            false -> timer:sleep(100), Wait(N - 1) \
                        end \
                    end, \
             ok = Wait(550), ok = dets:sync(ra_directory_reverse)."
        );
        self.control(&["eval", &wait]).await.map(drop)
    }

    /// Makes the node forget a quorum queue's log, as one that is killed before [`sync`](Self::sync) may, and kills
    /// it.
    ///
    /// # Errors
    ///
    /// As [`control`](Self::control) and [`kill`](Self::kill).
    pub async fn forget(&mut self, queue: &str) -> anyhow::Result<()> {
        let forget = format!(
            "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), \
             {{Name, _}} = amqqueue:get_pid(Q), \
             ok = dets:delete(ra_directory_reverse, Name), ok = dets:sync(ra_directory_reverse)."
        );
        self.control(&["eval", &forget]).await?;
        self.kill().await
    }

    fn node_mut(&mut self) -> anyhow::Result<&mut RabbitmqNode> {
        self.node.as_mut().context(NOT_OURS)
    }

    fn running(&mut self) -> anyhow::Result<&mut Process> {
        self.node_mut()?.server.as_mut().context("the node was stopped")
    }
}

#[cfg(test)]
mod tests {
    use super::node::answers;
    use super::*;

    #[tokio::test]
    async fn a_node_starts_answers_pauses_and_comes_back() {
        let mut broker = Broker::private().await.unwrap();
        let port = broker.port().unwrap();
        assert!(answers(port).await);
        broker.kill().await.unwrap();
        assert!(!answers(port).await);
        broker.restart().await.unwrap();
        assert!(answers(port).await);
        broker.stop().await.unwrap();
        assert!(!answers(port).await);
    }
}
