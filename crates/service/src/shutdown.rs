//! Ending: the first TERM or INT cancels, the second ends the process at once, and what is still at work gets
//! a deadline.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A token that TERM and INT cancel. It listens until the process ends, so that a second signal ends it at
/// once, with 128 and the signal's number, however long an orderly end takes.
///
/// # Errors
/// When the signals can't be listened for.
pub fn on_signals() -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(listen(terminate, interrupt, token.clone()));
    Ok(token)
}

async fn listen(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let first = either(&mut terminate, &mut interrupt).await;
    tracing::info!(signal = first.name, "stopping");
    token.cancel();
    let second = either(&mut terminate, &mut interrupt).await;
    tracing::warn!(signal = second.name, "stopping at once");
    std::process::exit(128 + second.kind.as_raw_value());
}

struct Caught {
    name: &'static str,
    kind: SignalKind,
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> Caught {
    tokio::select! {
        _ = terminate.recv() => Caught { name: "TERM", kind: SignalKind::terminate() },
        _ = interrupt.recv() => Caught { name: "INT", kind: SignalKind::interrupt() },
    }
}

/// Waits until all tasks of a tracker have ended, at most until the deadline, and logs what was left. Returns
/// how many were. Cancel them first.
pub async fn drain(tracker: &TaskTracker, deadline: Duration) -> usize {
    tracker.close();
    if tokio::time::timeout(deadline, tracker.wait()).await.is_ok() {
        return 0;
    }
    let left = tracker.len();
    tracing::warn!(left, ?deadline, "tasks did not end in time and are left behind");
    left
}

/// Tasks with names: nothing is started that is not listed here. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    running: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    next: Arc<AtomicU64>,
}

/// Takes a task off the list when it ends, however it ends.
struct Listed {
    running: Arc<Mutex<BTreeMap<u64, &'static str>>>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.number);
    }
}

fn lock<'a>(running: &'a Mutex<BTreeMap<u64, &'static str>>) -> MutexGuard<'a, BTreeMap<u64, &'static str>> {
    // The map is whole at every point where a panic could happen.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task.
    pub fn spawn<F>(&self, name: &'static str, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.running).insert(number, name);
        let listed = Listed { running: Arc::clone(&self.running), number };
        self.tracker.spawn(async move {
            let _listed = listed;
            task.await
        })
    }

    /// The names of those that have not ended, oldest first.
    #[must_use]
    pub fn running(&self) -> Vec<&'static str> {
        lock(&self.running).values().copied().collect()
    }

    /// Waits until all have ended, at most until the deadline, and logs the names of what was left, which it
    /// returns. Cancel them first.
    pub async fn drain(&self, deadline: Duration) -> Vec<&'static str> {
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Vec::new();
        }
        let left = self.running();
        tracing::warn!(?left, ?deadline, "tasks did not end in time and are left behind");
        left
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Child, Command, Stdio};

    use rustix::process::{Pid, Signal as Kill, kill_process};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const NOW: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn what_ends_is_drained_and_what_does_not_is_named() {
        let (tasks, cancel) = (Tasks::new(), CancellationToken::new());
        for _ in 0..3 {
            tasks.spawn("listens", cancel.clone().cancelled_owned());
        }
        assert_eq!(tasks.drain(NOW).await, ["listens"; 3]);
        tasks.spawn("hangs", std::future::pending::<()>());
        let panics = tasks.spawn("panics", async { panic!("on purpose") });
        assert!(panics.await.unwrap_err().is_panic());
        cancel.cancel();
        while tasks.running() != ["hangs"] {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks.drain(NOW).await, ["hangs"]);
    }

    #[tokio::test]
    async fn a_tracker_is_drained() {
        let tracker = TaskTracker::new();
        tracker.spawn(async {});
        assert_eq!(drain(&tracker, SOON).await, 0);
        tracker.spawn(std::future::pending::<()>());
        assert_eq!(drain(&tracker, NOW).await, 1);
    }

    /// A signal to this process would end the other tests, so it runs itself again.
    #[test]
    fn the_first_signal_cancels_and_the_second_ends() {
        for (signal, code) in [(Kill::TERM, 143), (Kill::INT, 130)] {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "shutdown::tests::as_a_daemon", "--nocapture"])
                .env("AEGIR_TEST_DAEMON", "1")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let mut wait_for = |word| lines.find(|line| line.as_ref().unwrap().contains(word)).unwrap();
            wait_for("listening").unwrap();
            kill(&child, signal);
            wait_for("cancelled").unwrap();
            kill(&child, signal);
            let status = child.wait().unwrap();
            assert_eq!((status.code(), status.signal()), (Some(code), None));
        }
    }

    fn kill(child: &Child, signal: Kill) {
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    #[test]
    fn as_a_daemon() {
        if std::env::var_os("AEGIR_TEST_DAEMON").is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let token = on_signals().unwrap();
            println!("listening");
            token.cancelled().await;
            println!("cancelled");
            tokio::time::sleep(SOON).await;
        });
    }
}
