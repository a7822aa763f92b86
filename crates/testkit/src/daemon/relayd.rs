//! relayd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use aegir_client::address::RelaydAddress;
use aegir_client::client::WholeAnswer;
use aegir_client::{Client, Method};
use anyhow::{Context as _, bail};
use rustix::process::Signal;
use serde_json::Value;

use super::binaries::binary;
use super::broker_section::{broker_section, quoted};
use super::notifications::{Notifications, WATCHDOG_MICROSECONDS};
use crate::port::free_port;
use crate::process::Process;

/// How long it may take to become ready; far more than it takes, for machines that do much else.
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// A relayd. Dropping it kills it.
#[derive(Debug)]
pub struct Relayd {
    directory: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    notifications: Option<Notifications>,
    client: Client,
}

/// How to start one; every setting has a default.
#[derive(Debug)]
pub struct RelaydBuilder {
    directory: PathBuf,
    broker_url: String,
    broker_settings: String,
    port: Option<u16>,
    frontend: String,
    default_backend: String,
    settings: String,
    sections: String,
    environment: Vec<(String, String)>,
}

impl RelaydBuilder {
    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The port of its API. The default is a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Its name. The default is `main`.
    #[must_use]
    pub fn frontend(mut self, name: &str) -> Self {
        name.clone_into(&mut self.frontend);
        self
    }

    /// Where Operations go that name no backend. The default is `main`.
    #[must_use]
    pub fn default_backend(mut self, name: &str) -> Self {
        name.clone_into(&mut self.default_backend);
        self
    }

    /// A line for the top of its config file.
    #[must_use]
    pub fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self.settings.push('\n');
        self
    }

    /// Another way to the broker: a proxy, or TLS.
    #[must_use]
    pub fn broker_url(mut self, url: &str) -> Self {
        url.clone_into(&mut self.broker_url);
        self
    }

    /// A line for the `[broker]` section of its config file, such as `heartbeat_seconds = 1`.
    #[must_use]
    pub fn broker_setting(mut self, line: &str) -> Self {
        self.broker_settings.push_str(line);
        self.broker_settings.push('\n');
        self
    }

    /// A section for the end of its config file.
    #[must_use]
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Writes its config file and does not start it yet.
    ///
    /// # Errors
    ///
    /// If the file can't be written.
    pub fn configure(self) -> anyhow::Result<Relayd> {
        let port = self.port.map_or_else(free_port, Ok)?;
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let directory = self.directory.canonicalize().context("relayd's directory has no absolute path")?;
        let text = format!(
            "frontend = {}\ndefault_backend = {}\nstate_directory = {}\n{}\n[http]\nlisten = \"127.0.0.1:{port}\"\n\n{}\n{}",
            quoted(&self.frontend),
            quoted(&self.default_backend),
            quoted(directory.join("state")),
            self.settings,
            broker_section(&self.broker_url, &self.broker_settings, &directory)?,
            self.sections,
        );
        fs::write(directory.join("relayd.toml"), text).context("cannot write relayd.toml")?;
        let client = Client::new(address(port), None)?;
        Ok(Relayd {
            directory,
            port,
            environment: self.environment,
            process: None,
            notifications: None,
            client,
        })
    }

    /// Starts it and waits until it is ready, its session with the broker included.
    ///
    /// # Errors
    ///
    /// If it does not become ready; the message shows the end of its log.
    pub async fn start(self) -> anyhow::Result<Relayd> {
        let mut relayd = self.configure()?;
        relayd.start_again().await?;
        Ok(relayd)
    }
}

impl Relayd {
    /// One with everything of it in `directory`, to be described further.
    #[must_use]
    pub fn builder(directory: &Path, broker_url: &str) -> RelaydBuilder {
        RelaydBuilder {
            directory: directory.to_owned(),
            broker_url: broker_url.to_owned(),
            broker_settings: String::new(),
            port: None,
            frontend: "main".to_owned(),
            default_backend: "main".to_owned(),
            settings: String::new(),
            sections: String::new(),
            environment: Vec::new(),
        }
    }

    /// Starts one on a free port.
    ///
    /// # Errors
    ///
    /// As [`RelaydBuilder::start`].
    pub async fn start(directory: &Path, broker_url: &str) -> anyhow::Result<Self> {
        Self::builder(directory, broker_url).start().await
    }

    /// Starts it after [`kill`](Self::kill) or [`stop`](Self::stop) and waits until it is ready.
    ///
    /// # Errors
    ///
    /// If it runs, or does not become ready; the message shows the end of its log.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.launch("readyz").await
    }

    /// The same, and waits only until it answers: for when there is no broker.
    ///
    /// # Errors
    ///
    /// If it runs, or does not answer; the message shows the end of its log.
    pub async fn start_without_broker(&mut self) -> anyhow::Result<()> {
        self.launch("healthz").await
    }

    async fn launch(&mut self, probe: &str) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("relayd runs already");
        }
        let notifications = Notifications::listen(&self.directory.join("notify"))?;
        let mut command = self.command()?;
        command.env("NOTIFY_SOCKET", notifications.path()).env("WATCHDOG_USEC", WATCHDOG_MICROSECONDS);
        command.args(["serve", "--config"]).arg(self.config());
        let mut process = Process::spawn("relayd", command, &self.directory.join("relayd.log"))?;
        let path = format!("/{probe}");
        let client = self.client.clone().timeout(Duration::from_secs(5));
        let ready = async || client.bytes(&path).await.ok();
        process.until(probe, START, ready).await?;
        self.client = Client::new(address(self.port), Some(&self.token()?))?;
        self.process = Some(process);
        self.notifications = Some(notifications);
        Ok(())
    }

    /// The program with the environment that it runs in, for its other subcommands.
    ///
    /// # Errors
    ///
    /// If it can't be built.
    pub fn command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(binary("relayd")?);
        command
            .current_dir(&self.directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
            .env("HOME", &self.directory)
            .env("RUST_BACKTRACE", "1")
            // As in the unit.
            .env("RUST_MIN_STACK", "67108864")
            .env("RUST_LOG", std::env::var_os("RUST_LOG").unwrap_or_else(|| "info".into()))
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Where its API is, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        address(self.port).url("")
    }

    /// Its config file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("relayd.toml")
    }

    /// Where its store is.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The file with its API token.
    #[must_use]
    pub fn token_file(&self) -> PathBuf {
        self.state_directory().join("api-token")
    }

    /// Its API token.
    ///
    /// # Errors
    ///
    /// If it has made none yet.
    pub fn token(&self) -> anyhow::Result<String> {
        let text = fs::read_to_string(self.token_file()).context("relayd has made no API token yet")?;
        Ok(text.trim().to_owned())
    }

    /// The last status line that it told systemd.
    #[must_use]
    pub fn status(&self) -> String {
        self.notifications.as_ref().map(Notifications::status).unwrap_or_default()
    }

    /// How often it has fed systemd's watchdog since its start, which it does three times in three seconds.
    #[must_use]
    pub fn watchdogs(&self) -> u64 {
        self.notifications.as_ref().map(Notifications::watchdogs).unwrap_or_default()
    }

    /// The process, while it runs.
    #[must_use]
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        crate::process::tail(&self.directory.join("relayd.log"))
    }

    /// Kills it at once, as a power cut would.
    ///
    /// # Errors
    ///
    /// If the kernel does not let go of it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Asks it to end, and says how long it took.
    ///
    /// # Errors
    ///
    /// If it does not end, or not with success.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM)?;
            let status = process.wait(STOP).await?;
            if !status.success() {
                bail!("relayd ended with {status}; its log ends:\n{}", self.log_tail());
            }
        }
        Ok(begin.elapsed())
    }

    /// Stops it in order and starts it again.
    ///
    /// # Errors
    ///
    /// As [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.start_again().await
    }

    /// Its API, with its token since it first was ready.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Waits until it knows what a backend can do.
    ///
    /// # Errors
    ///
    /// If it does not so soon; the message shows the end of its log.
    pub async fn wait_for_catalog(&self, patience: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + patience;
        loop {
            let answer = self.get("/api/v1/catalog").await;
            if let Ok((200, list)) = &answer
                && list["catalogs"].as_array().is_some_and(|catalogs| !catalogs.is_empty())
            {
                return Ok(());
            }
            if Instant::now() > end {
                let log = self.log_tail();
                bail!("no catalog reached relayd within {patience:?}: {answer:?}\nits log ends:\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The status and the JSON that a path answers with; JSON null where the body is none.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<(u16, Value)> {
        Ok(parts(&self.client.answer(self.client.request(Method::GET, path)).await?))
    }

    /// The same for a body that is sent.
    ///
    /// # Errors
    ///
    /// If it does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<(u16, Value)> {
        Ok(parts(&self.client.answer(self.client.request(Method::POST, path).json(body)).await?))
    }
}

fn address(port: u16) -> RelaydAddress {
    RelaydAddress::Http(format!("http://127.0.0.1:{port}"))
}

fn parts(answer: &WholeAnswer) -> (u16, Value) {
    (answer.status.as_u16(), answer.json().unwrap_or_default())
}
