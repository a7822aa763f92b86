//! dispatcherd.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;

use super::binaries::binary;
use super::broker_section::{broker_section, quoted};
use super::notifications::{Notifications, WATCHDOG_MICROSECONDS};
use super::runners::end_runners;
use crate::process::Process;

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

/// A dispatcherd. Dropping it kills it and every runner that it has launched.
#[derive(Debug)]
pub struct Dispatcherd {
    directory: PathBuf,
    runtime: PathBuf,
    node: String,
    environment: Vec<(String, String)>,
    process: Option<Process>,
    notifications: Option<Notifications>,
}

/// How to start one; every setting has a default.
#[derive(Debug)]
pub struct DispatcherdBuilder {
    directory: PathBuf,
    broker_url: String,
    broker_settings: String,
    backend: String,
    node: String,
    frontend: String,
    roles: Vec<PathBuf>,
    content_roots: Vec<PathBuf>,
    identity_file: Option<PathBuf>,
    runtime_directory: Option<PathBuf>,
    programs: bool,
    settings: String,
    sections: String,
    environment: Vec<(String, String)>,
}

impl DispatcherdBuilder {
    /// A variable of its environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its backend. The default is `main`.
    #[must_use]
    pub fn backend(mut self, name: &str) -> Self {
        name.clone_into(&mut self.backend);
        self
    }

    /// Its own name. The default is `node1`.
    #[must_use]
    pub fn node(mut self, name: &str) -> Self {
        name.clone_into(&mut self.node);
        self
    }

    /// Whose Operations it takes. The default is `main`.
    #[must_use]
    pub fn frontend(mut self, name: &str) -> Self {
        name.clone_into(&mut self.frontend);
        self
    }

    /// A directory of roles beside this repository's `roles/`.
    #[must_use]
    pub fn roles(mut self, directory: &Path) -> Self {
        self.roles.push(directory.to_owned());
        self
    }

    /// A directory that codebases may come from.
    #[must_use]
    pub fn content_root(mut self, directory: &Path) -> Self {
        self.content_roots.push(directory.to_owned());
        self
    }

    /// The private key of the login on minions.
    #[must_use]
    pub fn identity_file(mut self, path: &Path) -> Self {
        self.identity_file = Some(path.to_owned());
        self
    }

    /// Where secrets and sockets are. The default is in its directory, whose path should be short.
    #[must_use]
    pub fn runtime_directory(mut self, directory: &Path) -> Self {
        self.runtime_directory = Some(directory.to_owned());
        self
    }

    /// Lets Tasks run programs beside it.
    #[must_use]
    pub fn allow_programs(mut self) -> Self {
        self.programs = true;
        self
    }

    /// A line for the top of its config file, such as `slots = 1`.
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

    /// A section for the end of its config file, such as `[limits]` with its lines.
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
    pub fn configure(self) -> anyhow::Result<Dispatcherd> {
        let make = |path: &Path| {
            fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
            path.canonicalize().with_context(|| format!("{} has no absolute path", path.display()))
        };
        let directory = make(&self.directory)?;
        let runtime = make(&self.runtime_directory.unwrap_or_else(|| directory.join("run")))?;
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
        let roles = std::iter::once(repository.join("roles")).chain(self.roles);
        let mut ssh = String::from("[ssh]\n");
        if let Some(file) = &self.identity_file {
            ssh.push_str(&format!("identity_file = {}\n", quoted(file)));
        }
        let text = format!(
            "backend = {}\nnode = {}\nfrontends = [{}]\nstate_directory = {}\nruntime_directory = {}\n\
             roles = {}\ncontent_roots = {}\n{}\n{}\n{ssh}\n[ansible]\nplugins = {}\n\n\
             [allow]\nprograms_on_dispatcher = {}\n\n{}",
            quoted(&self.backend),
            quoted(&self.node),
            quoted(&self.frontend),
            quoted(directory.join("state")),
            quoted(&runtime),
            list(roles),
            list(self.content_roots),
            self.settings,
            broker_section(&self.broker_url, &self.broker_settings, &directory)?,
            quoted(repository.join("dispatcherd/ansible")),
            self.programs,
            self.sections,
        );
        fs::write(directory.join("dispatcherd.toml"), text).context("cannot write dispatcherd.toml")?;
        let (node, environment) = (self.node, self.environment);
        Ok(Dispatcherd { directory, runtime, node, environment, process: None, notifications: None })
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// If it does not become ready; the message shows the end of its log.
    pub async fn start(self) -> anyhow::Result<Dispatcherd> {
        let mut dispatcherd = self.configure()?;
        dispatcherd.start_again().await?;
        Ok(dispatcherd)
    }
}

fn list(paths: impl IntoIterator<Item = PathBuf>) -> String {
    format!("[{}]", paths.into_iter().map(quoted).collect::<Vec<_>>().join(", "))
}

impl Dispatcherd {
    /// One with everything of it in `directory`, to be described further.
    #[must_use]
    pub fn builder(directory: &Path, broker_url: &str) -> DispatcherdBuilder {
        DispatcherdBuilder {
            directory: directory.to_owned(),
            broker_url: broker_url.to_owned(),
            broker_settings: String::new(),
            backend: "main".to_owned(),
            node: "node1".to_owned(),
            frontend: "main".to_owned(),
            roles: Vec::new(),
            content_roots: Vec::new(),
            identity_file: None,
            runtime_directory: None,
            programs: false,
            settings: String::new(),
            sections: String::new(),
            environment: Vec::new(),
        }
    }

    /// Starts one.
    ///
    /// # Errors
    ///
    /// As [`DispatcherdBuilder::start`].
    pub async fn start(directory: &Path, broker_url: &str) -> anyhow::Result<Self> {
        Self::builder(directory, broker_url).start().await
    }

    /// Starts it after [`kill`](Self::kill) or [`stop`](Self::stop) and waits until it says, as it says to
    /// systemd, that it is ready.
    ///
    /// # Errors
    ///
    /// If it runs, or does not become ready; the message shows the end of its log.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            bail!("dispatcherd runs already");
        }
        let notifications = Notifications::listen(&self.directory.join("notify"))?;
        let mut command = self.command()?;
        command.env("NOTIFY_SOCKET", notifications.path()).env("WATCHDOG_USEC", WATCHDOG_MICROSECONDS);
        command.args(["serve", "--config"]).arg(self.config());
        let mut process = Process::spawn("dispatcherd", command, &self.directory.join("dispatcherd.log"))?;
        let ready = async || notifications.is_ready().then_some(());
        process.until("readiness", START, ready).await?;
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
        let mut command = Command::new(binary("dispatcherd")?);
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

    /// What it calls itself.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its config file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory.join("dispatcherd.toml")
    }

    /// Where its journal is.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// Where its secrets and sockets are.
    #[must_use]
    pub fn runtime_directory(&self) -> &Path {
        &self.runtime
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
        crate::process::tail(&self.directory.join("dispatcherd.log"))
    }

    /// Kills it at once. Runners go on.
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

    /// Asks it to end, and says how long it took. Runners go on.
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
                bail!("dispatcherd ended with {status}; its log ends:\n{}", self.log_tail());
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
}

impl Drop for Dispatcherd {
    fn drop(&mut self) {
        // First itself, so that it launches nothing more.
        self.process = None;
        end_runners(&self.state_directory(), &self.runtime);
    }
}
