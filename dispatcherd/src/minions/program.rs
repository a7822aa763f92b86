//! A program on a minion.
//!
//! ssh's own exit code says too little (255 and 127 mean several things), so a shell of a few lines around
//! the program says how it ended: on standard error, behind a control character and a random word that no
//! program can know. That trailer is taken off before anybody sees the stream.
//!
//! The shell waits for a word before it starts the program. Whoever ends what a dead runner has left looks for the
//! marker on the minion, and sshd may take seconds to start a shell there: without the word, what was asked for
//! before the look would start after it.

use std::io;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aegir_protocol::record::{Exit, Remains};
use openssh::{ChildStderr, ChildStdout, Session};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use super::connection::Minion;
use super::error::MinionError;
use super::marker::{MARKER, Signal};

/// Around the program, with the marker in its environment: so what the program is told to end by reaches the shell too,
/// which goes on, for it has the program's exit code to tell. The program's standard input is empty.
const AROUND: &str = r#"
word=$1; shift
trap : INT TERM
printf '\036%s ready\n' "$word" >&2
read -r go || exit 0
command -v -- "$1" >/dev/null 2>&1 || { printf '\036%s missing\n' "$word" >&2; exit 0; }
"$@" </dev/null
printf '\036%s %s\n' "$word" "$?" >&2
"#;

type Waiting = Pin<Box<dyn Future<Output = Result<ExitStatus, openssh::Error>>>>;

/// A program that runs on a minion.
pub struct RemoteProgram {
    minion: Minion,
    marker: String,
    waiting: Waiting,
    streams: Option<(RemoteStream, RemoteStream)>,
    heard: watch::Receiver<Option<RemoteStart>>,
}

/// What the shell around a program says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteStart {
    /// There is no such program on the minion.
    Missing,
    /// It ended with this status, as a shell counts: 128 and more for a signal.
    Ended(i32),
}

impl RemoteProgram {
    /// Starts it, when there is on the minion what carries the marker. Dropped before that, nothing starts.
    ///
    /// # Errors
    /// When ssh can't be started.
    pub async fn start(minion: &Minion, argv: &[String], marker: &str) -> Result<Self, MinionError> {
        let word = uuid::Uuid::new_v4().simple().to_string();
        let session = Arc::new(minion.session());
        let mut command = Session::arc_command(session, "env");
        command.arg(format!("{MARKER}={marker}")).arg("sh").arg("-c").arg(AROUND).arg("aegir").arg(&word);
        command.args(argv);
        command
            .stdin(openssh::Stdio::piped())
            .stdout(openssh::Stdio::piped())
            .stderr(openssh::Stdio::piped());
        let mut child = command.spawn().await.map_err(|error| {
            let message = format!("can't start ssh: {}", crate::runner::chain(&error));
            match error {
                openssh::Error::Ssh(error) | openssh::Error::ChildIo(error) => {
                    MinionError::here(message, &error)
                }
                _ => MinionError::Here(message),
            }
        })?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        let (said, heard) = watch::channel(None);
        let mut stderr = RemoteStream {
            pipe: child.stderr().take().map_or(Pipe::Closed, Pipe::Stderr),
            cutter: Some(Cutter::new(format!("\x1e{word} ").into_bytes(), said)),
        };
        stderr.begins().await;
        if let Some(mut stdin) = stdin {
            // A connection that has ended is noticed when the program is waited for.
            let _ = stdin.write_all(b"go\n").await;
        }
        Ok(Self {
            minion: minion.clone(),
            marker: marker.to_owned(),
            waiting: Box::pin(child.wait()),
            streams: Some((
                RemoteStream { pipe: stdout.map_or(Pipe::Closed, Pipe::Stdout), cutter: None },
                stderr,
            )),
            heard,
        })
    }

    /// What the shell around it has said, for when the program itself was taken away.
    #[must_use]
    pub fn trailer(&self) -> watch::Receiver<Option<RemoteStart>> {
        self.heard.clone()
    }

    /// The streams; called once.
    pub fn streams(&mut self) -> (RemoteStream, RemoteStream) {
        let closed = || RemoteStream { pipe: Pipe::Closed, cutter: None };
        self.streams.take().unwrap_or_else(|| (closed(), closed()))
    }

    /// Waits for its end, which may come before the end of its streams is read.
    ///
    /// # Errors
    /// When the connection ended before the program did.
    pub async fn wait(&mut self) -> io::Result<()> {
        tokio::select! {
            // ssh itself waits for whatever holds the streams open, which need not be the program.
            said = self.heard.wait_for(Option::is_some) => said.map(drop).map_err(io::Error::other),
            // Nothing but the trailer is believed, and it may be unread still.
            ended = &mut self.waiting => match ended {
                Ok(_) => Ok(()),
                Err(openssh::Error::RemoteProcessTerminated | openssh::Error::Remote(_)) => Ok(()),
                Err(error) => Err(io::Error::other(crate::runner::chain(&error))),
            },
        }
    }

    /// Signals it and all that it started, in the background of the connection.
    pub fn signal(&self, signal: Signal) {
        let (minion, marker) = (self.minion.clone(), self.marker.clone());
        // Bounded by its own timeout; the runtime drops it at the latest when the runner ends.
        tokio::spawn(async move { minion.signal(&[marker], signal).await });
    }

    /// Ends what is left of it on the minion.
    pub async fn end(&self) -> Remains {
        self.minion.end_running(std::slice::from_ref(&self.marker)).await
    }
}

impl std::fmt::Debug for RemoteProgram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteProgram").field("minion", &self.minion).finish_non_exhaustive()
    }
}

impl RemoteStart {
    /// As a record says it. A shell does not tell a status of 128 and more from a signal; signals are by far
    /// more frequent.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Missing => Exit { code: Some(127), signal: None },
            Self::Ended(status @ 129..=192) => Exit { code: None, signal: Some(status - 128) },
            Self::Ended(status) => Exit { code: Some(status), signal: None },
        }
    }
}

#[derive(Debug)]
enum Pipe {
    Stdout(ChildStdout),
    Stderr(ChildStderr),
    Closed,
}

/// A stream of a program on a minion.
#[derive(Debug)]
pub struct RemoteStream {
    pipe: Pipe,
    cutter: Option<Cutter>,
}

impl RemoteStream {
    /// Reads until the shell around the program waits for its word, or the stream ends.
    async fn begins(&mut self) {
        std::future::poll_fn(|context| {
            while self.cutter.as_ref().is_some_and(|cutter| !cutter.begun && !cutter.ended) {
                if ready!(self.poll_more(context)).is_err() {
                    break;
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    fn poll_pipe(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.pipe {
            Pipe::Stdout(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Pipe::Stderr(pipe) => Pin::new(pipe).poll_read(context, buffer),
            Pipe::Closed => Poll::Ready(Ok(())),
        }
    }

    /// Gives the cutter what there is.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 16 * 1024];
        let mut bytes = ReadBuf::new(&mut space);
        ready!(self.poll_pipe(context, &mut bytes))?;
        if let Some(cutter) = &mut self.cutter {
            if bytes.filled().is_empty() { cutter.end() } else { cutter.push(bytes.filled()) }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for RemoteStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.cutter.as_ref().is_some_and(|cutter| cutter.ready.is_empty() && !cutter.ended) {
            ready!(this.poll_more(context))?;
        }
        let Some(cutter) = &mut this.cutter else { return this.poll_pipe(context, buffer) };
        let given = cutter.ready.len().min(buffer.remaining());
        buffer.put_slice(&cutter.ready[..given]);
        cutter.ready.drain(..given);
        Poll::Ready(Ok(()))
    }
}

/// Takes the trailer off a stream. Holds back only what may be its beginning.
#[derive(Debug)]
struct Cutter {
    mark: Vec<u8>,
    held: Vec<u8>,
    ready: Vec<u8>,
    ended: bool,
    /// Whether the shell around the program is there.
    begun: bool,
    said: watch::Sender<Option<RemoteStart>>,
}

impl Cutter {
    fn new(mark: Vec<u8>, said: watch::Sender<Option<RemoteStart>>) -> Self {
        Self { mark, held: Vec::new(), ready: Vec::new(), ended: false, begun: false, said }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        let Some(start) = memchr::memmem::find(&self.held, &self.mark) else {
            let begun = (1..self.mark.len().min(self.held.len() + 1))
                .rev()
                .find(|&length| self.held.ends_with(&self.mark[..length]))
                .unwrap_or(0);
            let settled = self.held.len() - begun;
            self.ready.extend(self.held.drain(..settled));
            return;
        };
        let after = start + self.mark.len();
        if let Some(newline) = memchr::memchr(b'\n', &self.held[after..]) {
            let said = String::from_utf8_lossy(&self.held[after..after + newline]).into_owned();
            match said.as_str() {
                "ready" => self.begun = true,
                "missing" => drop(self.said.send_replace(Some(RemoteStart::Missing))),
                status => drop(self.said.send_replace(status.parse().ok().map(RemoteStart::Ended))),
            }
            self.held.drain(start..=after + newline);
            // What a process that outlives the program prints behind the trailer is passed on.
            self.ready.append(&mut self.held);
        } else {
            self.ready.extend(self.held.drain(..start));
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.ready.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Stdio;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_trailer_is_taken_off_and_nothing_else(
            before in "[a\\x1ew ]{0,40}", after in "[a\\x1e]{0,5}", status in 0i32..256, step in 1usize..20,
        ) {
            let (said, heard) = watch::channel(None);
            let mut cutter = Cutter::new(b"\x1eword ".to_vec(), said);
            // The shell waits for its word after the first line.
            for text in ["\x1eword ready\n".to_owned(), format!("{before}\x1eword {status}\n{after}")] {
                text.as_bytes().chunks(step).for_each(|chunk| cutter.push(chunk));
            }
            cutter.end();
            prop_assert_eq!(String::from_utf8(cutter.ready).unwrap(), format!("{before}{after}"));
            prop_assert!(cutter.begun);
            prop_assert_eq!(*heard.borrow(), Some(RemoteStart::Ended(status)));
        }
    }

    #[test]
    fn without_its_word_the_shell_starts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        for (word, starts) in [("", false), ("go\n", true)] {
            let file = directory.path().join("started");
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", AROUND, "aegir", "word", "touch"]).arg(&file);
            let mut shell = shell.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            shell.stdin.take().unwrap().write_all(word.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success());
            assert_eq!(file.exists(), starts);
        }
    }

    #[test]
    fn a_status_of_128_and_more_is_a_signal() {
        assert_eq!(RemoteStart::Ended(137).exit(), Exit { code: None, signal: Some(9) });
        assert_eq!(RemoteStart::Ended(3).exit(), Exit { code: Some(3), signal: None });
        assert_eq!(RemoteStart::Ended(255).exit(), Exit { code: Some(255), signal: None });
    }
}
