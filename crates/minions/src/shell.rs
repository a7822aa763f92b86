//! A shell on a minion, which reads from its standard input what it is to do.
//!
//! Not from its command line: that is read by the login's own shell first, which may be csh or fish, and those read
//! quotes and newlines otherwise. What goes there is a few plain words that every shell passes on.
//!
//! Nothing is done before the shell has said that it is there: so when it can't be reached in one way, another way can
//! be tried, and nothing runs twice.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::MinionError;
use super::login::Login;
use super::marker::MARKER;
use super::minion::{ConnectionKind, Minion};
use super::remote_start::RemoteStart;
use super::stream::{RemoteStream, mark};

/// How long a shell over a connection that stands may take to begin before the connection counts as dead.
const BEGIN: Duration = Duration::from_secs(10);
/// What a login may take after its connection is there.
const LOGIN: Duration = Duration::from_secs(20);
/// How long after its streams ssh may take to end.
const SSH_ENDS: Duration = Duration::from_secs(5);

/// Why no shell began.
#[derive(Debug)]
pub(super) enum ShellError {
    /// Something beside dispatcherd.
    Here(MinionError),
    /// ssh ended.
    Ended {
        /// What it ended with.
        code: Option<i32>,
        /// What it and the login printed.
        printed: String,
        /// The part of it on standard error, where ssh's own words are.
        stderr: String,
    },
    /// Nothing happened for so long.
    Silent(Duration),
}

pub(super) type Waiting = Pin<Box<dyn Future<Output = io::Result<Option<i32>>> + Send>>;

/// A shell that has begun.
pub(super) struct RemoteShell {
    /// What its lines begin with, which no program can know.
    pub(super) word: String,
    pub(super) stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub(super) stdout: RemoteStream,
    pub(super) stderr: RemoteStream,
    /// What it has said of its program.
    pub(super) heard: watch::Receiver<Option<RemoteStart>>,
    /// ssh's end.
    pub(super) waiting: Waiting,
}

impl RemoteShell {
    /// Begins one. With a marker, it and all that it starts have that in their environment.
    ///
    /// # Errors
    /// When it does not begin.
    pub(super) async fn begin(
        minion: &Minion,
        way: ConnectionKind,
        marker: Option<&str>,
    ) -> Result<Self, ShellError> {
        let limit = match way {
            ConnectionKind::Shared => BEGIN,
            ConnectionKind::Master | ConnectionKind::Own => {
                Duration::from_secs(minion.login().connect_timeout_seconds).saturating_add(LOGIN)
            }
        };
        let mut shell = Self::ask_for(minion, way, marker).await.map_err(ShellError::Here)?;
        let begun = async {
            // To a connection that ends: its streams end too.
            let opening =
                format!("printf '\\036%s ready\\n' {0}; printf '\\036%s ready\\n' {0} >&2\n", shell.word);
            let _ = shell.write(opening.as_bytes()).await;
            let (stdout, stderr) = tokio::join!(shell.stdout.begins(), shell.stderr.begins());
            stdout && stderr
        };
        match timeout(limit, begun).await {
            Ok(true) => Ok(shell),
            Ok(false) => {
                let code = timeout(SSH_ENDS, &mut shell.waiting).await;
                let code = code.ok().and_then(Result::ok).flatten();
                let stderr = shell.stderr.noise();
                Err(ShellError::Ended { code, printed: shell.stdout.noise() + &stderr, stderr })
            }
            Err(_) => Err(ShellError::Silent(limit)),
        }
    }

    async fn ask_for(
        minion: &Minion,
        way: ConnectionKind,
        marker: Option<&str>,
    ) -> Result<Self, MinionError> {
        // In words that every shell passes on. No `exec`, which a restricted one refuses.
        let words = match marker {
            Some(marker) => format!("env {MARKER}={marker} sh -s"),
            None => "sh -s".to_owned(),
        };
        let (stdin, stdout, stderr, waiting): (_, Box<dyn AsyncRead + Send + Unpin>, _, Waiting) = match way {
            ConnectionKind::Shared => {
                let mut command = Session::arc_raw_command(Arc::new(minion.session()), &words);
                command.stdin(openssh::Stdio::piped());
                command.stdout(openssh::Stdio::piped()).stderr(openssh::Stdio::piped());
                let mut child = command.spawn().await.map_err(|error| {
                    let message = format!("can't start ssh: {}", aegir_service::error::chain(&error));
                    match error {
                        openssh::Error::Ssh(error) | openssh::Error::ChildIo(error) => {
                            MinionError::here(message, &error)
                        }
                        _ => MinionError::Here(message),
                    }
                })?;
                let streams = (child.stdin().take(), child.stdout().take(), child.stderr().take());
                let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
                    return Err(MinionError::Here("ssh has no streams".to_owned()));
                };
                let waiting = async move {
                    match child.wait().await {
                        Ok(status) => Ok(status.code()),
                        // Its exit code may have been the program's.
                        Err(openssh::Error::RemoteProcessTerminated | openssh::Error::Remote(_)) => Ok(None),
                        Err(error) => Err(io::Error::other(aegir_service::error::chain(&error))),
                    }
                };
                (
                    Box::new(stdin) as Box<dyn AsyncWrite + Send + Unpin>,
                    Box::new(stdout),
                    Box::new(stderr) as Box<dyn AsyncRead + Send + Unpin>,
                    Box::pin(waiting),
                )
            }
            ConnectionKind::Master | ConnectionKind::Own => {
                let mut command = minion.ssh(way);
                command.arg(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
                let mut child = command.spawn().map_err(|error| cannot_start(&error))?;
                let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
                let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
                    return Err(MinionError::Here("ssh has no streams".to_owned()));
                };
                let waiting = async move { child.wait().await.map(|status| status.code()) };
                (Box::new(stdin), Box::new(stdout), Box::new(stderr), Box::pin(waiting))
            }
        };
        let word = uuid::Uuid::new_v4().simple().to_string();
        let (said, heard) = watch::channel(None);
        let stdout = RemoteStream::new(stdout, &word, None);
        let stderr = RemoteStream::new(stderr, &word, Some(said));
        Ok(Self { word, stdin, stdout, stderr, heard, waiting })
    }

    /// Gives it something to read.
    ///
    /// # Errors
    /// When it is not there any more.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdin.write_all(bytes).await?;
        self.stdin.flush().await
    }

    /// Runs a script that answers once, and gives its answer.
    ///
    /// # Errors
    /// When it gives none.
    pub(super) async fn answer(mut self, script: &str, arguments: &[String]) -> io::Result<String> {
        self.write(question(&self.word, script, arguments).as_bytes()).await?;
        let (mark, mut printed) = (mark(&self.word), Vec::new());
        loop {
            if let Some(answer) = find_answer(&printed, &mark) {
                return Ok(answer);
            }
            if self.stdout.read_buf(&mut printed).await? == 0 {
                let mut more = Vec::new();
                let _ = self.stderr.read_to_end(&mut more).await;
                printed.extend(more);
                let text: String = String::from_utf8_lossy(&printed).trim().chars().take(200).collect();
                return Err(io::Error::other(format!("its shell answers {text:?}")));
            }
        }
    }
}

/// A script that says one word by `answer`, as a shell reads it whole before it begins with it.
pub(super) fn question(word: &str, script: &str, arguments: &[String]) -> String {
    format!(
        "{{\nset -- {}\nanswer() {{ printf '\\036%s %s\\n' {word} \"$1\"; }}\n{script}\nexit 0\n}} </dev/null\n",
        quoted_words(arguments)
    )
}

/// What a script has answered.
pub(super) fn find_answer(printed: &[u8], mark: &[u8]) -> Option<String> {
    let start = memchr::memmem::find(printed, mark)? + mark.len();
    let length = memchr::memchr(b'\n', &printed[start..])?;
    Some(String::from_utf8_lossy(&printed[start..start + length]).into_owned())
}

/// Words for a POSIX shell.
pub(super) fn quoted_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

fn cannot_start(error: &io::Error) -> MinionError {
    if error.kind() == io::ErrorKind::NotFound {
        MinionError::ProgramMissing(
            "can't find the program \"ssh\": install openssh-client beside dispatcherd".to_owned(),
        )
    } else {
        MinionError::here(format!("can't start ssh: {error}"), error)
    }
}

impl ShellError {
    /// Whether sshd turned the connection away before the login, as it does with some when many come at once
    /// (`MaxStartups`).
    pub(super) fn turned_away(&self) -> bool {
        match self {
            Self::Ended { code: Some(255), stderr, .. } => {
                stderr.contains("kex_exchange_identification") || stderr.contains("Connection reset by")
            }
            Self::Ended { .. } | Self::Here(_) | Self::Silent(_) => false,
        }
    }

    /// For people.
    pub(super) fn error(self, login: &Login) -> MinionError {
        match self {
            Self::Here(error) => error,
            Self::Silent(limit) => {
                MinionError::from_ssh(login, &format!("no answer within {} s", limit.as_secs()))
            }
            Self::Ended { code: Some(255), stderr, .. } => MinionError::from_ssh(login, &stderr),
            Self::Ended { printed, .. } => {
                let said: String = printed.trim().chars().take(300).collect();
                MinionError::LoginRefused(format!(
                    "minion {} takes the login but runs no commands ({said}): give {} a login shell",
                    login.shown(),
                    login.user
                ))
            }
        }
    }
}
