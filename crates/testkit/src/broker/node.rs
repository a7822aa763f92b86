//! A node's process, its control program and its `epmd`.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::environment::URL_VARIABLE;
use crate::process::Process;

/// Where the distribution keeps RabbitMQ's own scripts. Those in `/usr/sbin` change the user and insist on the
/// system's configuration.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";
/// How long a node may take to start. One takes three seconds alone and far longer when a whole test run starts
/// a dozen at once.
const START: Duration = Duration::from_secs(120);
const CONTROL: Duration = Duration::from_secs(60);

/// A node that we started.
#[derive(Debug)]
pub(super) struct RabbitmqNode {
    pub(super) directory: PathBuf,
    pub(super) name: String,
    pub(super) amqp_port: u16,
    pub(super) tls_port: Option<u16>,
    pub(super) dist_port: u16,
    pub(super) epmd_port: u16,
    // Before `epmd`, so that it is dropped first.
    pub(super) server: Option<Process>,
    pub(super) _epmd: Process,
}

impl RabbitmqNode {
    pub(super) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(super) async fn start(&mut self) -> anyhow::Result<()> {
        let mut server = Process::spawn("rabbitmq-server", self.command("rabbitmq-server")?, &self.log())?;
        let port = self.amqp_port;
        server
            .until("an answer to an AMQP client", START, async || answers(port).await.then_some(()))
            .await?;
        self.server = Some(server);
        Ok(())
    }

    /// One of RabbitMQ's scripts with the environment that makes it ours and nobody else's.
    fn command(&self, script: &str) -> anyhow::Result<Command> {
        let program = Path::new(SCRIPTS).join(script);
        if !program.exists() {
            bail!(
                "{} is missing: install rabbitmq-server, or name a broker in {URL_VARIABLE}",
                program.display()
            );
        }
        let inside = |name: &str| self.directory.join(name);
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", inside("home"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", inside("rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", inside("advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", inside("enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", inside("data"))
            .env("RABBITMQ_LOG_BASE", inside("logs"))
            .env("RABBITMQ_PID_FILE", inside("pid"))
            .env("ERL_CRASH_DUMP", inside("erl_crash.dump"))
            // No busy waiting: a dozen of these run at once on small machines.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}",
            );
        Ok(command)
    }

    pub(super) async fn control(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("rabbitmqctl")?;
        command.arg("--quiet").args(arguments.iter().map(OsStr::new));
        let output = tempfile::NamedTempFile::new_in(&self.directory).context("no room for its output")?;
        let mut process = Process::spawn("rabbitmqctl", command, output.path())?;
        let status = process.wait(CONTROL).await?;
        let text = std::fs::read_to_string(output.path()).context("cannot read rabbitmqctl's output")?;
        if !status.success() {
            bail!("rabbitmqctl {arguments:?} failed ({status}): {text}");
        }
        Ok(text)
    }
}

/// Starts `epmd` in the foreground. Without this the node would start one as a daemon, which outlives it.
pub(super) async fn start_epmd(directory: &Path, port: u16) -> anyhow::Result<Process> {
    let mut command = Command::new("epmd");
    command.args(["-address", "127.0.0.1", "-port", &port.to_string()]);
    let mut epmd = Process::spawn("epmd", command, &directory.join("epmd.log"))?;
    let connect = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok();
    epmd.until("a connection", START, connect).await?;
    Ok(epmd)
}

/// Whether a broker answers the protocol header with its first frame.
pub(super) async fn answers(port: u16) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        let mut first = [0];
        stream.read_exact(&mut first).await?;
        std::io::Result::Ok(first[0])
    };
    // A method frame: connection.start.
    matches!(tokio::time::timeout(Duration::from_secs(5), exchange).await, Ok(Ok(1)))
}
