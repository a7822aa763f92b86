//! Telling systemd how the daemon is. Without systemd (no `NOTIFY_SOCKET`) nothing happens here.
//!
//! The watchdog is fed only while every subsystem that has a [`WatchdogHandle`] uses it in time. A subsystem beats
//! when it makes progress, and trying again counts: a broker that is away restarts nobody, a task that hangs
//! restarts the daemon.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// Speaks to systemd. Cheap to clone; all clones share the heartbeats.
#[derive(Clone, Debug)]
pub struct Notifier {
    started: Instant,
    subsystems: Arc<Mutex<Vec<Arc<Subsystem>>>>,
}

#[derive(Debug)]
struct Subsystem {
    name: &'static str,
    limit: Duration,
    /// Milliseconds from the notifier's start to the last beat.
    last: AtomicU64,
}

/// Says that a subsystem makes progress. When it is dropped without [`WatchdogHandle::retire`], as by a panic, the
/// subsystem counts as hanging from then on.
#[derive(Debug)]
pub struct WatchdogHandle {
    notifier: Notifier,
    subsystem: Arc<Subsystem>,
}

/// A subsystem that has not made progress in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    pub name: &'static str,
    /// For how long it has been silent.
    pub silent: Duration,
    /// For how long it may be.
    pub limit: Duration,
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Notifier {
    /// A notifier without heartbeats.
    #[must_use]
    pub fn new() -> Self {
        Self { started: Instant::now(), subsystems: Arc::default() }
    }

    /// The daemon does its work from now on.
    pub fn ready(&self, status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// One line for `systemctl status`.
    pub fn status(&self, status: &str) {
        send(&[NotifyState::Status(status)]);
    }

    /// The daemon is about to end.
    pub fn stopping(&self, status: &str) {
        send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// From now on the watchdog is fed only if the heartbeat beats at least once in every `limit`.
    #[must_use]
    pub fn watch(&self, name: &'static str, limit: Duration) -> WatchdogHandle {
        let last = AtomicU64::new(milliseconds(self.started.elapsed()));
        let subsystem = Arc::new(Subsystem { name, limit, last });
        self.subsystems().push(Arc::clone(&subsystem));
        WatchdogHandle { notifier: self.clone(), subsystem }
    }

    /// The subsystems that are late now.
    #[must_use]
    pub fn late(&self) -> Vec<Late> {
        self.late_at(milliseconds(self.started.elapsed()))
    }

    /// Feeds the watchdog three times in the interval that the unit sets (`WatchdogSec=`), while nothing is
    /// late. Ends when it is cancelled.
    pub async fn feed_watchdog(&self, cancel: CancellationToken) {
        let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
            return cancel.cancelled().await;
        };
        let mut ticks = tokio::time::interval(interval / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let late = self.late();
            if late.is_empty() {
                send(&[NotifyState::Watchdog]);
            }
            for Late { name, silent, limit } in late {
                tracing::error!(subsystem = name, ?silent, ?limit, "no progress; the watchdog is not fed");
            }
        }
    }

    fn late_at(&self, now: u64) -> Vec<Late> {
        let silence = |subsystem: &Arc<Subsystem>| {
            let last = subsystem.last.load(Ordering::Relaxed);
            let silent = Duration::from_millis(now.saturating_sub(last));
            let (name, limit) = (subsystem.name, subsystem.limit);
            (silent > limit).then_some(Late { name, silent, limit })
        };
        self.subsystems().iter().filter_map(silence).collect()
    }

    fn subsystems(&self) -> MutexGuard<'_, Vec<Arc<Subsystem>>> {
        // The list is whole at every point where a panic could happen.
        self.subsystems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WatchdogHandle {
    /// There is progress. Cheap enough for every turn of a loop.
    pub fn beat(&self) {
        let now = milliseconds(self.notifier.started.elapsed());
        self.subsystem.last.store(now, Ordering::Relaxed);
    }

    /// The subsystem has ended as it should; nothing is expected of it any more.
    pub fn retire(self) {
        self.notifier.subsystems().retain(|subsystem| !Arc::ptr_eq(subsystem, &self.subsystem));
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "can't tell systemd");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn only_silence_beyond_the_limit_is_late() {
        let notifier = Notifier::new();
        let (broker, store) = (notifier.watch("broker", LIMIT), notifier.watch("store", 2 * LIMIT));
        let names = |now| notifier.late_at(now).iter().map(|late| late.name).collect::<Vec<_>>();
        for (beaten, now, expected) in [
            (0, 10_000, vec![]),
            (0, 10_001, vec!["broker"]),
            (5_000, 15_000, vec![]),
            (5_000, 20_001, vec!["broker", "store"]),
        ] {
            broker.subsystem.last.store(beaten, Ordering::Relaxed);
            store.subsystem.last.store(0, Ordering::Relaxed);
            assert_eq!(names(now), expected, "{beaten} {now}");
        }
        broker.beat();
        store.retire();
        assert_eq!(names(0), Vec::<&str>::new());
        drop(broker);
        assert_eq!(names(1_000_000), ["broker"], "a subsystem that just vanished counts as hanging");
    }

    /// The environment of this process can't be changed safely, so the test runs itself again with another.
    #[test]
    fn systemd_hears_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "systemd::tests::as_a_service"])
            .env("NOTIFY_SOCKET", &path)
            .env("WATCHDOG_USEC", "90000")
            .env_remove("WATCHDOG_PID")
            .env("AEGIR_TEST_SERVICE", "1")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut buffer = [0; 1024];
        let mut heard = || {
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!(heard(), "READY=1\nSTATUS=started\n");
        assert_eq!(heard(), "WATCHDOG=1\n");
        let after = std::iter::repeat_with(heard).find(|message| message != "WATCHDOG=1\n");
        assert_eq!(after.unwrap(), "STOPPING=1\nSTATUS=done\n");
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn as_a_service() {
        if std::env::var_os("AEGIR_TEST_SERVICE").is_none() {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let notifier = Notifier::new();
            notifier.ready("started");
            let cancel = CancellationToken::new();
            let _heartbeat = notifier.watch("test", Duration::from_millis(500));
            let late = async {
                while notifier.late().is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                cancel.cancel();
            };
            tokio::join!(notifier.feed_watchdog(cancel.clone()), late);
            notifier.stopping("done");
        });
    }
}
