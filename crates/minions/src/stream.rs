//! What a shell on a minion prints.
//!
//! A login may print before the shell begins (a message of the day, an `echo` in `.bashrc` or `.cshrc`), with or
//! without an end of line, on either stream. So the shell begins each stream with a line that holds a control character
//! and a random word: what comes before it is the login's and is dropped. On standard error it says in the same way what
//! became of a program. Such lines are taken off before anybody sees the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;

use super::remote_start::RemoteStart;

/// How much of what a login prints is kept, to say why no shell began.
const NOISE: usize = 4 * 1024;

/// The beginning of a line of ours.
#[must_use]
pub(super) fn mark(word: &str) -> Vec<u8> {
    format!("\x1e{word} ").into_bytes()
}

/// A stream of a shell on a minion, or of the program in it.
pub struct RemoteStream {
    pipe: Box<dyn AsyncRead + Send + Unpin>,
    cutter: Cutter,
}

impl RemoteStream {
    /// A stream of a shell with this word. `said` hears what it says of a program.
    pub(super) fn new(
        pipe: Box<dyn AsyncRead + Send + Unpin>,
        word: &str,
        said: Option<watch::Sender<Option<RemoteStart>>>,
    ) -> Self {
        Self { pipe, cutter: Cutter::new(mark(word), said) }
    }

    /// Nothing.
    pub(super) fn closed() -> Self {
        Self::new(Box::new(tokio::io::empty()), "", None)
    }

    /// Reads until the shell has begun, and says whether it has: the stream may end before.
    pub(super) async fn begins(&mut self) -> bool {
        self.read_until(|cutter| cutter.begun).await
    }

    /// Reads until the shell waits for its program's secrets, and says whether it does.
    pub(super) async fn waits(&mut self) -> bool {
        self.read_until(|cutter| cutter.waits || cutter.has_said()).await && self.cutter.waits
    }

    async fn read_until(&mut self, reached: impl Fn(&Cutter) -> bool) -> bool {
        std::future::poll_fn(|context| {
            while !reached(&self.cutter) && !self.cutter.ended {
                if ready!(self.poll_more(context)).is_err() {
                    break;
                }
            }
            Poll::Ready(reached(&self.cutter))
        })
        .await
    }

    /// What was printed before the shell began, while it has not.
    pub(super) fn noise(&self) -> String {
        String::from_utf8_lossy(&self.cutter.noise).into_owned()
    }

    /// Gives the cutter what there is.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 16 * 1024];
        let mut bytes = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.pipe).poll_read(context, &mut bytes))?;
        if bytes.filled().is_empty() {
            self.cutter.end();
        } else {
            self.cutter.push(bytes.filled());
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
        while this.cutter.ready.is_empty() && !this.cutter.ended {
            ready!(this.poll_more(context))?;
        }
        let given = this.cutter.ready.len().min(buffer.remaining());
        buffer.put_slice(&this.cutter.ready[..given]);
        this.cutter.ready.drain(..given);
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for RemoteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RemoteStream").field("cutter", &self.cutter).finish_non_exhaustive()
    }
}

/// Takes off what a login printed and the lines of ours. Holds back only what may be the beginning of one.
#[derive(Debug)]
struct Cutter {
    mark: Vec<u8>,
    held: Vec<u8>,
    ready: Vec<u8>,
    /// The end of what came before the shell began.
    noise: Vec<u8>,
    begun: bool,
    waits: bool,
    ended: bool,
    /// Where there is nobody to tell, nothing after the first line of ours is looked at.
    said: Option<watch::Sender<Option<RemoteStart>>>,
}

impl Cutter {
    fn new(mark: Vec<u8>, said: Option<watch::Sender<Option<RemoteStart>>>) -> Self {
        Self {
            mark,
            held: Vec::new(),
            ready: Vec::new(),
            noise: Vec::new(),
            begun: false,
            waits: false,
            ended: false,
            said,
        }
    }

    fn has_said(&self) -> bool {
        self.said.as_ref().is_some_and(|said| said.borrow().is_some())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while !self.begun || self.said.is_some() {
            let Some(start) = memchr::memmem::find(&self.held, &self.mark) else {
                let mark = (1..self.mark.len().min(self.held.len() + 1))
                    .rev()
                    .find(|&length| self.held.ends_with(&self.mark[..length]))
                    .unwrap_or(0);
                self.settle(self.held.len() - mark);
                return;
            };
            self.settle(start);
            let Some(newline) = memchr::memchr(b'\n', &self.held) else { return };
            let line: Vec<u8> = self.held.drain(..=newline).collect();
            self.hear(&String::from_utf8_lossy(&line[self.mark.len()..newline]));
        }
        self.settle(self.held.len());
    }

    /// These first bytes are not ours.
    fn settle(&mut self, length: usize) {
        let bytes = self.held.drain(..length);
        if self.begun {
            self.ready.extend(bytes);
        } else {
            self.noise.extend(bytes);
            let more = self.noise.len().saturating_sub(NOISE);
            self.noise.drain(..more);
        }
    }

    fn hear(&mut self, word: &str) {
        match (word, &self.said) {
            ("ready", _) => {
                self.begun = true;
                self.noise.clear();
            }
            ("waits", _) => self.waits = true,
            (word, Some(said)) => {
                said.send_replace(RemoteStart::read(word));
            }
            (_, None) => {}
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.settle(self.held.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_ours_and_the_logins_is_taken_off_and_nothing_else(
            noise in "[a\\x1ew\n ]{0,40}", before in "[a\\x1ew ]{0,40}", after in "[a\\x1e]{0,5}",
            status in 0i32..256, step in 1usize..20,
        ) {
            let (said, heard) = watch::channel(None);
            let (mut stderr, mut stdout) = (Cutter::new(mark("word"), Some(said)), Cutter::new(mark("word"), None));
            // A login need not end its last line.
            let text = format!("{noise}\x1eword ready\n{before}\x1eword waits\n\x1eword {status}\n{after}");
            text.as_bytes().chunks(step).for_each(|chunk| stderr.push(chunk));
            stderr.end();
            prop_assert_eq!(String::from_utf8(stderr.ready).unwrap(), format!("{before}{after}"));
            prop_assert!(stderr.begun && stderr.waits);
            prop_assert_eq!(*heard.borrow(), Some(RemoteStart::Ended(status)));
            let text = format!("{noise}\x1eword ready\n{before}\x1eword 0\n{after}");
            text.as_bytes().chunks(step).for_each(|chunk| stdout.push(chunk));
            stdout.end();
            prop_assert_eq!(String::from_utf8(stdout.ready).unwrap(), format!("{before}\x1eword 0\n{after}"));
        }
    }

    #[test]
    fn what_a_login_prints_without_end_takes_bounded_memory() {
        let mut cutter = Cutter::new(mark("word"), None);
        for _ in 0..1000 {
            cutter.push(&[b'x'; 1000]);
        }
        assert!(cutter.noise.len() <= NOISE && cutter.held.len() < 1000 && cutter.ready.is_empty());
        cutter.push(b"\x1eword ready\nyes");
        assert_eq!(cutter.ready, b"yes");
    }
}
