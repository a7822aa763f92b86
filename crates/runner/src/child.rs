//! Carrying a child through to its end, whatever it is: a process here, a program on a minion, later a
//! warm interpreter. What a child is stands behind [`Child`]; nothing here knows of `waitpid`.
//!
//! One loop reads both streams and writes what it reads before it reads on: what the disk can't take, or the spool,
//! stays in the child's pipe, and the child waits. Between reads it looks at stops and times, so that a flood of
//! output delays neither.

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::time::Duration;

use aegir_minions::StopSignal;
use aegir_protocol::name::HostName;
use aegir_protocol::record::{ChildExit, Remains, Stream};
use aegir_protocol::state::Reason;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, sleep, sleep_until};

use super::backpressure::LOOK_AGAIN;
use super::events::{TaskEvent, TaskEvents};
use super::recorder::Recorder;
use super::stop::{Stop, Stops};

/// How long a terminated child may take.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);
/// How long a killed child may take, which is the kernel's part.
const KILL_GRACE: Duration = Duration::from_secs(10);
/// How long what a child left behind may hold its output open.
const LEAK: Duration = Duration::from_secs(5);
/// The same when the Task is being stopped.
const LEAK_WHEN_STOPPED: Duration = Duration::from_secs(1);
/// How much is read at once: what a pipe holds.
const READ: usize = 64 * 1024;
/// How much is read without room when a Task was stopped and its child has ended: what is left in two pipes and a
/// socket. More than that comes from something that does not end, and is not waited for.
const REST: usize = 1024 * 1024;
/// After how many reads timers and signals get their turn: a mebibyte of output.
const READS_IN_A_ROW: u32 = 16;

/// Something that prints and ends.
pub(super) trait Child {
    /// Its standard output and standard error.
    type Output: AsyncRead + Unpin;

    /// Its streams; called once.
    fn streams(&mut self) -> (Self::Output, Self::Output);

    /// Waits for its end. May be dropped and called again, but not after it has returned.
    ///
    /// # Errors
    /// When its end can't be learned.
    fn wait(&mut self) -> impl Future<Output = io::Result<ChildExit>>;

    /// Presses it, and everything that it started, to end. Does not wait.
    fn signal(&mut self, stop_signal: StopSignal);

    /// After its end: sees that nothing of it is left, ends what is, and says whether that was so.
    /// Where looking is not free, that may be left out unless there is a suspicion.
    fn clean_up(&mut self, suspicion: bool) -> impl Future<Output = Cleanup>;

    /// Whether what it started may live on after this end, which nobody has asked for.
    fn may_leave(&self, _exit: &ChildExit) -> bool {
        false
    }

    /// In place of [`clean_up`](Self::clean_up) after such an end: says what lives on, and ends nothing.
    fn leave_running(&mut self) -> impl Future<Output = Remains> {
        std::future::ready(Remains::Gone)
    }
}

/// What was found after a child's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cleanup {
    /// Whether anything had to be ended.
    pub(super) found: bool,
    /// What is left now.
    pub(super) remains: Remains,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// By itself or by a signal; neither when that is not known.
    pub(super) exit: ChildExit,
    /// Why it was stopped, if it was.
    pub(super) stop: Option<Stop>,
    /// Whether it left something behind that had to be ended.
    pub(super) left_behind: bool,
    /// What is left now.
    pub(super) remains: Remains,
    /// Why its end is not known.
    pub(super) error: Option<String>,
}

/// Carries a child through to its end. What it prints goes to the account, tagged with the host where there
/// is one; so do the events of Ansible or a plug-in.
pub(super) async fn run_child<C: Child>(
    mut child: C,
    host: Option<&HostName>,
    mut events: Option<&mut TaskEvents>,
    recorder: &RefCell<Recorder>,
    stops: &mut Stops,
) -> Ended {
    recorder.borrow_mut().child_runs();
    let (stdout, stderr) = child.streams();
    let mut stdout = Source::new(stdout, Stream::Stdout);
    let mut stderr = Source::new(stderr, Stream::Stderr);
    let mut exit: Option<io::Result<ChildExit>> = None;
    let mut stop = None;
    // The next step of stopping and when it is due; the time after which nothing more is waited for.
    let mut next: Option<(StopSignal, Instant)> = None;
    let mut patience: Option<Instant> = None;
    // Whether the end of the lease has been looked at while the child was ending.
    let (mut lease, mut hurried) = (stops.clone(), false);
    let mut reads = 0_u32;
    let mut heard = Instant::now();
    let mut rest = 0;
    // Why the child is to be stopped for what it said.
    let mut refused = None;
    loop {
        if let Some(reason) = refused.take()
            && stop.is_none()
        {
            stop = Some(Stop::Broken(reason));
            child.signal(StopSignal::Interrupt);
            next = Some((StopSignal::Terminate, Instant::now() + stops.grace()));
        }
        let events_done = events.as_ref().is_none_or(|events| events.done(exit.is_some()));
        if exit.is_some() && stdout.ended && stderr.ended && events_done {
            break;
        }
        let flows = recorder.borrow().flows();
        let over = stop.is_some() && exit.is_some();
        let may_read = flows || (over && rest < REST);
        if !may_read && !over && exit.is_some() {
            // What the child has printed is still to be read, however long that takes.
            patience = Some(Instant::now() + LEAK);
        }
        if !flows {
            // It is not the child that is quiet.
            heard = Instant::now();
        }
        let quiet = stops.quiet_after(heard);
        tokio::select! {
            asked = stopped(stops, quiet), if stop.is_none() => {
                stop = Some(asked);
                child.signal(StopSignal::Interrupt);
                next = Some((StopSignal::Terminate, Instant::now() + stops.grace()));
            }
            () = lease.lease_over(), if !hurried && stop.is_some() && exit.is_none() => {
                hurried = true;
                let soon = Instant::now() + stops.grace();
                next = next.map(|(stop_signal, at)| (stop_signal, at.min(soon)));
            }
            () = until(next.map(|(_, at)| at)), if next.is_some() && exit.is_none() => {
                let stop_signal = next.map_or(StopSignal::Kill, |(stop_signal, _)| stop_signal);
                child.signal(stop_signal);
                if stop_signal == StopSignal::Kill {
                    next = None;
                    patience = Some(Instant::now() + KILL_GRACE);
                } else {
                    next = Some((StopSignal::Kill, Instant::now() + TERMINATE_GRACE));
                }
            }
            () = until(patience), if patience.is_some() => {
                if !leaves(&child, stop.as_ref(), exit.as_ref()) {
                    child.signal(StopSignal::Kill);
                }
                break;
            }
            ended = child.wait(), if exit.is_none() => {
                exit = Some(ended);
                if stop.is_some() {
                    // What it started and did not take along gets no further grace.
                    child.signal(StopSignal::Terminate);
                    patience = Some(Instant::now() + LEAK_WHEN_STOPPED);
                } else {
                    patience = Some(Instant::now() + LEAK);
                }
            }
            read = stdout.read(), if may_read && !stdout.ended => {
                reads += 1;
                refused = take_waiting(&mut events, recorder);
                rest += usize::from(!flows) * stdout.hand_over(read, host, recorder);
                heard = Instant::now();
            }
            read = stderr.read(), if may_read && !stderr.ended => {
                reads += 1;
                refused = take_waiting(&mut events, recorder);
                rest += usize::from(!flows) * stderr.hand_over(read, host, recorder);
                heard = Instant::now();
            }
            () = sleep(LOOK_AGAIN), if !flows => recorder.borrow_mut().check_again(),
            event = next_event(&mut events), if may_read && !events_done => {
                heard = Instant::now();
                if let (Some(event), Some(events)) = (event, events.as_deref_mut()) {
                    refused = events.take(event, recorder).err();
                }
            }
        }
        if reads >= READS_IN_A_ROW {
            reads = 0;
            // A child that prints without end would otherwise keep the runtime from its timers.
            tokio::task::yield_now().await;
        }
    }
    let held_open = !(stdout.ended && stderr.ended);
    stdout.close(host, recorder);
    stderr.close(host, recorder);
    if let Some(events) = events
        && let Err(reason) = events.drain(recorder).await
        && stop.is_none()
    {
        stop = Some(Stop::Broken(reason));
    }
    let cleanup = if leaves(&child, stop.as_ref(), exit.as_ref()) {
        Cleanup { found: false, remains: child.leave_running().await }
    } else {
        let cleanup = child.clean_up(held_open || stop.is_some() || !matches!(exit, Some(Ok(_)))).await;
        Cleanup { found: cleanup.found || held_open, ..cleanup }
    };
    let (exit, error) = match exit {
        Some(Ok(exit)) => (exit, None),
        Some(Err(error)) => (ChildExit::default(), Some(error.to_string())),
        None => (ChildExit::default(), Some("it did not end after SIGKILL".to_owned())),
    };
    Ended { exit, stop, left_behind: cleanup.found, remains: cleanup.remains, error }
}

/// Whether what a child started may live on.
fn leaves<C: Child>(child: &C, stop: Option<&Stop>, exit: Option<&io::Result<ChildExit>>) -> bool {
    stop.is_none() && matches!(exit, Some(Ok(exit)) if child.may_leave(exit))
}

/// Waits for a stop from outside, or until the child has been quiet for too long.
async fn stopped(stops: &mut Stops, quiet: Option<(Instant, Stop)>) -> Stop {
    let too_quiet = async {
        match quiet {
            Some((at, stop)) => {
                sleep_until(at).await;
                stop
            }
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        asked = stops.stopped() => asked,
        stop = too_quiet => stop,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

async fn next_event(events: &mut Option<&mut TaskEvents>) -> Option<TaskEvent> {
    match events {
        Some(events) => events.next().await,
        None => pending().await,
    }
}

/// Takes what was said before what was just read was printed: a secret is masked from where it is handed over.
fn take_waiting(events: &mut Option<&mut TaskEvents>, recorder: &RefCell<Recorder>) -> Option<Reason> {
    let events = events.as_deref_mut()?;
    while let Some(Some(event)) = events.next().now_or_never() {
        if let Err(reason) = events.take(event, recorder) {
            return Some(reason);
        }
    }
    None
}

struct Source<R> {
    reader: R,
    stream: Stream,
    buffer: Vec<u8>,
    ended: bool,
    closed: bool,
}

impl<R: AsyncRead + Unpin> Source<R> {
    fn new(reader: R, stream: Stream) -> Self {
        Self { reader, stream, buffer: Vec::with_capacity(READ), ended: false, closed: false }
    }

    /// Reads once. When it is dropped before it returns, nothing was read.
    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.clear();
        self.reader.read_buf(&mut self.buffer).await
    }

    /// Gives what was read to the account. Says how much that was.
    fn hand_over(
        &mut self,
        read: io::Result<usize>,
        host: Option<&HostName>,
        recorder: &RefCell<Recorder>,
    ) -> usize {
        match read {
            Ok(0) => {
                self.ended = true;
                self.close(host, recorder);
            }
            Ok(_) => recorder.borrow_mut().output(host, self.stream, &self.buffer),
            Err(error) => {
                tracing::warn!(%error, stream = self.stream.as_str(), "a child's stream can't be read on");
                self.ended = true;
                self.close(host, recorder);
            }
        }
        self.buffer.len()
    }

    fn close(&mut self, host: Option<&HostName>, recorder: &RefCell<Recorder>) {
        if !self.closed {
            self.closed = true;
            recorder.borrow_mut().end_of_output(host, self.stream);
        }
    }
}
