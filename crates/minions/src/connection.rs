//! The shared connection to a minion.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aegir_protocol::record::Remains;
use rustix::fs::{FlockOperation, flock};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::error::MinionError;
use super::login::Login;
use super::marker::{self, StopSignal};
use super::minion::{ConnectionKind, Minion};
use super::shell::{RemoteShell, ShellError};

/// How long a shell that has begun may take for its answer before its connection counts as dead.
const ANSWER: Duration = Duration::from_secs(10);
/// What ssh says when a connection that stands has no room for another session.
const NO_SESSION: &str = "session request failed";
/// How long to wait each time that sshd turns a connection away.
const TURNED_AWAY: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// What the minion is asked.
const QUESTION: &str = r#"if [ -z "$1" ] || "$1" -c "import json" >/dev/null 2>&1; then answer there; else answer no-python; fi"#;

impl Minion {
    /// Sees that the minion answers over the shared connection, and starts that where it does not stand.
    /// With `python`, sees that the minion has it.
    ///
    /// # Errors
    /// When it does not; the error says which of address, key, login and Python is wrong.
    pub async fn open(login: Login, runtime: &Path, python: Option<&Path>) -> Result<Self, MinionError> {
        let minion = Self::prepare(login, runtime)?;
        let answer = match minion.ask_existing(python).await {
            Some(answer) => answer?,
            None => minion.start(python).await?,
        };
        minion.judge(&answer, python)?;
        Ok(minion)
    }

    /// Signals every process on the minion that has one of these markers in its environment.
    pub async fn signal(&self, markers: &[String], signal: StopSignal) {
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
        marker::found(&self.run(&script, &arguments).await?)
    }

    /// Whether any process on the minion has one of these markers in its environment.
    pub async fn look(&self, markers: &[String]) -> Remains {
        self.or_unknown(self.ended(marker::look(markers)).await)
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
        let cannot = |why: String| format!("minion {} can't be asked: {why}", self.login.shown());
        let answer =
            self.run(&script, &arguments).await.map_err(|why| MinionError::Unreachable(cannot(why)))?;
        marker::remains(&answer).map_err(|why| MinionError::CannotLook(cannot(why)))
    }

    /// Runs a script of ours and gives its answer.
    async fn run(&self, script: &str, arguments: &[String]) -> Result<String, String> {
        let answer = async {
            let shell = self.shell(None).await.map_err(|error| error.to_string())?;
            shell.answer(script, arguments).await.map_err(|error| aegir_service::error::chain(&error))
        };
        let silent = || format!("no answer within {} s", marker::PATIENCE.as_secs());
        timeout(marker::PATIENCE, answer).await.unwrap_or_else(|_| Err(silent()))
    }

    /// Begins a shell: over the shared connection, or where that is dead or has no room for another session
    /// (`MaxSessions`), over one of its own.
    pub(super) async fn shell(&self, marker: Option<&str>) -> Result<RemoteShell, MinionError> {
        if self.stands() {
            match RemoteShell::begin(self, ConnectionKind::Shared, marker).await {
                Ok(shell) => return Ok(shell),
                Err(failure) => {
                    tracing::debug!(minion = %self.login.name, ?failure, "the shared connection gives no shell");
                }
            }
        }
        self.connect(ConnectionKind::Own, marker).await.map_err(|failure| failure.error(&self.login))
    }

    /// Begins a shell over a new connection. Where sshd turns that away, it is tried again.
    async fn connect(&self, way: ConnectionKind, marker: Option<&str>) -> Result<RemoteShell, ShellError> {
        for pause in TURNED_AWAY {
            match RemoteShell::begin(self, way, marker).await {
                Err(failure) if failure.turned_away() => sleep(pause).await,
                begun => return begun,
            }
        }
        RemoteShell::begin(self, way, marker).await
    }

    /// Asks over a connection that stands already; `None` when there is none, or it is dead.
    async fn ask_existing(&self, python: Option<&Path>) -> Option<Result<String, MinionError>> {
        if !self.stands() {
            return None;
        }
        let shell = match RemoteShell::begin(self, ConnectionKind::Shared, None).await {
            Ok(shell) => shell,
            // It stands, and somebody else uses all of it.
            Err(ShellError::Ended { stderr, .. }) if stderr.contains(NO_SESSION) => {
                match self.connect(ConnectionKind::Own, None).await {
                    Ok(shell) => shell,
                    Err(failure) => return Some(Err(failure.error(&self.login))),
                }
            }
            Err(_) => return None,
        };
        ask(shell, python).await.map(Ok)
    }

    /// Starts the connection, and asks with the command that starts it.
    async fn start(&self, python: Option<&Path>) -> Result<String, MinionError> {
        // Two that start at once would both listen at the path; the second waits and finds the first's.
        let _turn = self.turn().await?;
        if let Some(answer) = self.ask_existing(python).await {
            return answer;
        }
        self.give_up().await;
        let begun = self.connect(ConnectionKind::Master, None).await;
        let shell = begun.map_err(|failure| failure.error(&self.login))?;
        let silent = || MinionError::from_ssh(&self.login, "it takes the login and does not answer");
        ask(shell, python).await.ok_or_else(silent)
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

    fn judge(&self, answer: &str, python: Option<&Path>) -> Result<(), MinionError> {
        match answer {
            "there" => Ok(()),
            "no-python" => Err(MinionError::PythonMissing(format!(
                "minion {} has no working Python at {}: install it there (package python3), or set ansible.python in \
                 dispatcherd's config",
                self.login.shown(),
                python_text(python)
            ))),
            other => Err(MinionError::LoginRefused(format!(
                "minion {} takes the login and answers {:?}: give {} a login shell",
                self.login.shown(),
                other.chars().take(200).collect::<String>(),
                self.login.user
            ))),
        }
    }
}

/// Asks a shell that has begun; `None` when it does not answer.
async fn ask(shell: RemoteShell, python: Option<&Path>) -> Option<String> {
    timeout(ANSWER, shell.answer(QUESTION, &[python_text(python)])).await.ok()?.ok()
}

fn python_text(python: Option<&Path>) -> String {
    python.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}
