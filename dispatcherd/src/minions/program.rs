//! A program on a minion.
//!
//! ssh's own exit code says too little (255 and 127 mean several things), so a shell of a few lines around
//! the program says how it ended: on standard error, behind a control character and a random word that no
//! program can know ([`super::stream`]).
//!
//! Whoever ends what a dead runner has left looks for the marker on the minion, and sshd may take seconds to start a
//! shell there: without more, what was asked for before the look would start after it. So the shell is there before it is
//! told what to do, and what it is told is one command, which does nothing when only a part of it arrives.

use std::io;

use aegir_protocol::record::{Exit, Remains};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;

use super::connection::Minion;
use super::error::MinionError;
use super::marker::Signal;
use super::shell::{RemoteShell, Waiting, quoted_words};
use super::stream::RemoteStream;

/// Around the program, with the marker in its environment: so what the program is told to end by reaches the shell too,
/// which goes on, for it has the program's exit code to tell. The program's standard input is empty.
const AROUND: &str = r#"
trap : INT TERM
command -v -- "$1" >/dev/null 2>&1 || { say missing; exit 0; }
"$@" </dev/null
say "$?"
"#;

/// The whole of what the shell is told.
fn around(word: &str, argv: &[String]) -> String {
    format!(
        "{{\nset -- {}\nsay() {{ printf '\\036%s %s\\n' {word} \"$1\" >&2; }}{AROUND}exit 0\n}}\n",
        quoted_words(argv)
    )
}

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
        let mut shell = minion.shell(Some(marker)).await?;
        let script = around(&shell.word, argv);
        // A connection that has ended is noticed when the program is waited for.
        let _ = shell.write(script.as_bytes()).await;
        let RemoteShell { mut stdin, stdout, stderr, heard, waiting, .. } = shell;
        let _ = stdin.shutdown().await;
        Ok(Self {
            minion: minion.clone(),
            marker: marker.to_owned(),
            waiting,
            streams: Some((stdout, stderr)),
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
        self.streams.take().unwrap_or_else(|| (RemoteStream::closed(), RemoteStream::closed()))
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
            ended = &mut self.waiting => ended.map(drop),
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
    /// As the shell says it.
    pub(super) fn read(word: &str) -> Option<Self> {
        match word {
            "missing" => Some(Self::Missing),
            status => status.parse().ok().map(Self::Ended),
        }
    }

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

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn what_arrives_in_part_starts_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("it's started");
        let whole = around("word", &["touch".to_owned(), file.to_str().unwrap().to_owned()]);
        for length in [0, 1, whole.len() / 2, whole.len() - 3, whole.len()] {
            let mut shell = Command::new("sh");
            shell.arg("-s").stdin(Stdio::piped()).stderr(Stdio::null());
            let mut shell = shell.spawn().unwrap();
            shell.stdin.take().unwrap().write_all(&whole.as_bytes()[..length]).unwrap();
            shell.wait().unwrap();
            assert_eq!(file.exists(), length == whole.len(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn a_status_of_128_and_more_is_a_signal() {
        assert_eq!(RemoteStart::Ended(137).exit(), Exit { code: None, signal: Some(9) });
        assert_eq!(RemoteStart::Ended(3).exit(), Exit { code: Some(3), signal: None });
        assert_eq!(RemoteStart::Ended(255).exit(), Exit { code: Some(255), signal: None });
    }
}
