//! The shared connection to a minion.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use aegir_protocol::record::Remains;
use openssh::Session;
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;
use tokio::time::timeout;

use super::error::MinionError;
use super::login::Login;
use super::marker::{self, Signal};

/// The directory below the runtime directory where control sockets are.
const DIRECTORY: &str = "ssh";
/// How long a connection that nobody uses stays, in seconds.
const PERSIST_SECONDS: u32 = 60;
/// What the login itself may take after the connection is there.
const LOGIN: Duration = Duration::from_secs(20);
/// How long a question over a connection that stands may take before it counts as dead.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest path of a control socket: 108 bytes for `sun_path`, less what ssh puts behind the name while
/// it makes one, less the final zero.
const LONGEST_SOCKET: usize = 108 - 17 - 1;
/// What the minion is asked: prints one word.
const QUESTION: &str = r#"if [ -z "$1" ]; then echo aegir-there; elif "$1" -c "import json" >/dev/null 2>&1; then echo aegir-there; else echo aegir-no-python; fi"#;

/// A minion that answers: its connection stands.
#[derive(Clone, Debug)]
pub struct Minion {
    login: Login,
    socket: PathBuf,
    known_hosts: PathBuf,
}

impl Minion {
    /// Sees that the minion answers over the shared connection, and starts that where it does not stand.
    /// With `python`, sees that the minion has it.
    ///
    /// # Errors
    /// When it does not; the error says which of address, key, login and Python is wrong.
    pub async fn open(login: Login, runtime: &Path, python: Option<&Path>) -> Result<Self, MinionError> {
        let minion = Self::prepare(login, runtime)?;
        let answer = match minion.ask_standing(python).await {
            Some(answer) => answer,
            None => minion.start(python).await?,
        };
        minion.judge(&answer, python)?;
        Ok(minion)
    }

    /// Everything but the connection: for whoever makes that with [`options`](Self::options).
    ///
    /// # Errors
    /// When something beside dispatcherd is in the way.
    pub fn prepare(login: Login, runtime: &Path) -> Result<Self, MinionError> {
        let here = |what: &str, path: &Path, error: io::Error| {
            MinionError::here(format!("can't {what} {}: {error}", path.display()), &error)
        };
        let lines = login.known_host_lines().map_err(|error| match &login.known_hosts {
            super::KnownHosts::File(path) => here("read", path, error),
            super::KnownHosts::Given(_) => MinionError::Here(error.to_string()),
        })?;
        let directory = runtime.join(DIRECTORY);
        crate::secrets::private_directory(&directory).map_err(|error| here("make", &directory, error))?;
        let digest = login.digest(&lines);
        let socket = directory.join(&digest);
        let known_hosts = directory.join(format!("{digest}.known_hosts"));
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(MinionError::Here(format!(
                "{} is too long for a socket: choose a shorter runtime_directory in dispatcherd's config",
                socket.display()
            )));
        }
        aegir_service::atomic::write_file(&known_hosts, lines.as_bytes(), 0o600)
            .map_err(|error| here("write", &known_hosts, error))?;
        Ok(Self { login, socket, known_hosts })
    }

    /// How it is reached.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Whether its connection stands, as far as can be told without asking.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.socket.exists()
    }

    /// The options that make any ssh use this connection, and believe the right host keys where it has to
    /// make one of its own.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        vec![
            "ControlMaster=auto".to_owned(),
            format!("ControlPersist={PERSIST_SECONDS}"),
            format!("ControlPath={}", quoted(&self.socket)),
            format!("UserKnownHostsFile={}", quoted(&self.known_hosts)),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "BatchMode=yes".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=3".to_owned(),
            format!("ConnectTimeout={}", self.login.connect_timeout_seconds),
        ]
    }

    /// A session over the connection. Dropping it ends nothing.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::resume(self.socket.clone().into_boxed_path(), None)
    }

    /// Signals every process on the minion that has one of these markers in its environment.
    pub async fn signal(&self, markers: &[String], signal: Signal) {
        let (script, arguments) = marker::signal(markers, signal);
        if let Err(error) = self.run(&script, &arguments).await {
            tracing::warn!(minion = %self.login.name, %error, "what runs on the minion can't be signalled");
        }
    }

    /// Ends every process on the minion that has one of these markers or was asked for with it, and says what is left.
    pub async fn end(&self, markers: &[String]) -> Remains {
        self.or_unknown(self.try_end(markers).await)
    }

    /// Ends every process on the minion that has one of these markers in its environment, and says what is left.
    pub async fn end_running(&self, markers: &[String]) -> Remains {
        self.or_unknown(self.ended(marker::end_running(markers)).await)
    }

    /// Ends what steps of Ansible have started that began in one of these windows, and have one of these markers. Says how
    /// many processes that was, and what is left of them.
    ///
    /// # Errors
    /// When it does not answer, or not as it should.
    pub async fn end_steps(
        &self,
        markers: &[String],
        windows: &[(u64, u64)],
    ) -> Result<(usize, Remains), String> {
        let (script, arguments) = marker::end_steps(markers, windows);
        let printed = self.run(&script, &arguments).await.map_err(|error| crate::runner::chain(&error))?;
        marker::found(&printed)
    }

    fn or_unknown(&self, remains: Result<Remains, MinionError>) -> Remains {
        remains.unwrap_or_else(|error| {
            tracing::warn!(minion = %self.login.name, %error, "nobody can look what is left on the minion");
            Remains::Unknown
        })
    }

    /// As [`end`](Self::end), for whoever wants to know why nobody can look.
    ///
    /// # Errors
    /// When it does not answer, or not as it should.
    pub async fn try_end(&self, markers: &[String]) -> Result<Remains, MinionError> {
        self.ended(marker::end(markers)).await
    }

    async fn ended(&self, (script, arguments): (String, Vec<String>)) -> Result<Remains, MinionError> {
        let printed = self.run(&script, &arguments).await.map_err(|error| crate::runner::chain(&error));
        printed.and_then(|printed| marker::remains(&printed)).map_err(|why| {
            MinionError::Unreachable(format!("minion {} can't be asked: {why}", self.login.shown()))
        })
    }

    /// Runs a script of ours and gives what it printed.
    async fn run(&self, script: &str, arguments: &[String]) -> io::Result<String> {
        let session = self.session();
        let mut command = session.command("sh");
        command.arg("-c").arg(script).arg("aegir").args(arguments).stdin(openssh::Stdio::null());
        let output = timeout(marker::PATIENCE, command.output())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
            .map_err(io::Error::other)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks over a connection that stands already; `None` when there is none, or it is dead.
    async fn ask_standing(&self, python: Option<&Path>) -> Option<Answer> {
        if !self.socket.exists() {
            return None;
        }
        let session = self.session();
        let mut command = session.command("sh");
        command.arg("-c").arg(QUESTION).arg("aegir").arg(python_text(python)).stdin(openssh::Stdio::null());
        let answer = timeout(ANSWER, command.output()).await.ok()?.ok()?;
        Some(Answer { there: String::from_utf8_lossy(&answer.stdout).into_owned(), stderr: String::new() })
    }

    /// Starts the connection, and asks with the command that starts it.
    async fn start(&self, python: Option<&Path>) -> Result<Answer, MinionError> {
        // Two that start at once would both listen at the path; the second waits and finds the first's.
        let _turn = self.turn().await?;
        if let Some(answer) = self.ask_standing(python).await {
            return Ok(answer);
        }
        self.give_up().await;
        let limit = Duration::from_secs(self.login.connect_timeout_seconds) + LOGIN;
        let output = match timeout(limit, self.ssh(python).output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(MinionError::ProgramMissing(
                    "can't find the program \"ssh\": install openssh-client beside dispatcherd".to_owned(),
                ));
            }
            Ok(Err(error)) => return Err(MinionError::here(format!("can't start ssh: {error}"), &error)),
            Err(_) => {
                let said = format!("no answer within {} s", limit.as_secs());
                return Err(MinionError::from_ssh(&self.login, &said));
            }
        };
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(255) {
            return Err(MinionError::from_ssh(&self.login, &stderr));
        }
        let Output { stdout, .. } = output;
        Ok(Answer { there: String::from_utf8_lossy(&stdout).into_owned(), stderr })
    }

    fn ssh(&self, python: Option<&Path>) -> Command {
        let mut command = Command::new("ssh");
        // The agent, if there is one, is for this login; nothing else of ours goes in.
        let agent = std::env::var_os("SSH_AUTH_SOCK");
        command.env_clear().envs(crate::runner::base_environment());
        command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", agent)));
        for option in self.options().into_iter().filter(|option| option != "ControlMaster=auto") {
            command.arg("-o").arg(option);
        }
        // A master that is started by a command of its own: should the path be taken after all, the command
        // runs without one, and nothing stays behind.
        command.args(["-o", "ControlMaster=yes", "-T"]);
        if let Some(file) = &self.login.identity_file {
            command.arg("-i").arg(file).args(["-o", "IdentitiesOnly=yes"]);
        }
        command.arg("-p").arg(self.login.port.to_string()).arg("-l").arg(self.login.user.as_str());
        let question =
            format!("exec sh -c {} aegir {}", shell_quoted(QUESTION), shell_quoted(&python_text(python)));
        command.arg("--").arg(&self.login.address).arg(question);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        // Not in a group that is signalled with somebody else.
        command.process_group(0);
        command
    }

    /// Gives up a connection that does not answer, and removes its socket. It takes nothing new from then on; other
    /// Tasks that still use it are left alone: it may be only that sshd allows no more sessions (`MaxSessions`).
    async fn give_up(&self) {
        if !self.socket.exists() {
            return;
        }
        let mut command = Command::new("ssh");
        command.arg("-S").arg(&self.socket).args(["-O", "stop", "none"]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = timeout(Duration::from_secs(3), command.status()).await;
        let _ = std::fs::remove_file(&self.socket);
    }

    async fn turn(&self) -> Result<File, MinionError> {
        let path = self.socket.with_extension("lock");
        let failed =
            |error: io::Error| MinionError::here(format!("can't lock {}: {error}", path.display()), &error);
        let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = open.map_err(failed)?;
        let locked = tokio::task::spawn_blocking(move || {
            flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from).map(|()| file)
        });
        locked.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
    }

    fn judge(&self, answer: &Answer, python: Option<&Path>) -> Result<(), MinionError> {
        if answer.there.contains("aegir-there") {
            return Ok(());
        }
        let minion = self.login.shown();
        if answer.there.contains("aegir-no-python") {
            return Err(MinionError::PythonMissing(format!(
                "minion {minion} has no working Python at {}: install it there (package python3), or set \
                 ansible.python in dispatcherd's config",
                python_text(python)
            )));
        }
        let said: String = [&*answer.there, &*answer.stderr].concat().trim().chars().take(300).collect();
        Err(MinionError::LoginRefused(format!(
            "minion {minion} takes the login but runs no commands ({said}): give {} a login shell",
            self.login.user
        )))
    }
}

#[derive(Debug)]
struct Answer {
    there: String,
    stderr: String,
}

fn python_text(python: Option<&Path>) -> String {
    python.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A path as a value of ssh's `-o`: a percent sign would be expanded, a space would end it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}

/// A word for a POSIX shell.
fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
