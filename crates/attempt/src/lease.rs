//! Until when an attempt may act: `lease.json` in its directory.
//!
//! dispatcherd writes it, first before it starts the runner, then whenever relayd has granted the attempt again.
//! The runner looks at it before each Task and when its time is over, and stops by itself.
//! `docs/explanation/leases.md` says why that is enough.

use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use aegir_protocol::message::{BootTime, Lease};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use uuid::Uuid;

/// The clock that leases are measured by. It goes on while the machine is suspended, and nobody sets it.
#[must_use]
pub fn boot_time() -> BootTime {
    static BOOT: OnceLock<Uuid> = OnceLock::new();
    let boot = *BOOT.get_or_init(|| {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // Without the kernel's own id, one for this process: a lease of another process then counts as over.
        id.trim().parse().unwrap_or_else(|_| Uuid::new_v4())
    });
    let now = clock_gettime(ClockId::Boottime);
    let milliseconds = now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000;
    BootTime { boot, milliseconds }
}

/// How much of a lease is left; nothing of one that another boot asked for.
#[must_use]
pub fn left(lease: Lease, now: BootTime) -> Duration {
    let ends = lease.ends_at();
    if ends.boot != now.boot {
        return Duration::ZERO;
    }
    Duration::from_millis(ends.milliseconds.saturating_sub(now.milliseconds))
}

/// An attempt's lease, as its runner sees it.
#[derive(Debug)]
pub struct LeaseFile(PathBuf);

impl LeaseFile {
    /// The lease in this file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// How much is left. Without a lease that can be read nothing is: somebody else may have the attempt.
    #[must_use]
    pub fn left(&self) -> Duration {
        let lease = std::fs::read(&self.0).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        lease.map_or(Duration::ZERO, |lease| left(lease, boot_time()))
    }

    /// Waits until nothing is left, however often it is renewed meanwhile.
    ///
    /// # Errors
    /// When the system has no timer to wait on.
    pub async fn over(&self) -> io::Result<()> {
        let timer = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "the new form is an unsafe fn, for types that could swap the descriptor; \
            an OwnedFd can't"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        loop {
            let left = self.left();
            if left.is_zero() {
                return Ok(());
            }
            let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(left) };
            timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            timer.readable().await?.clear_ready();
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(seconds: u64, asked_at: BootTime) -> Vec<u8> {
        serde_json::to_vec(&Lease { asked_at, seconds }).unwrap()
    }

    #[test]
    fn a_lease_counts_from_the_question_and_not_beyond_a_boot() {
        let now = boot_time();
        assert!(now.milliseconds > 0);
        let lease = Lease { asked_at: now, seconds: 10 };
        let later = BootTime { milliseconds: now.milliseconds + 4000, ..now };
        assert_eq!(left(lease, later), Duration::from_secs(6));
        assert_eq!(left(lease, BootTime { milliseconds: now.milliseconds + 11_000, ..now }), Duration::ZERO);
        assert_eq!(left(lease, BootTime { boot: Uuid::new_v4(), ..now }), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_renewed_lease_is_waited_for_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lease.json");
        let file = LeaseFile::new(path.clone());
        assert_eq!(file.left(), Duration::ZERO, "there is none");
        let asked_at = boot_time();
        std::fs::write(&path, lease(1, asked_at)).unwrap();
        let over = file.over();
        tokio::pin!(over);
        tokio::select! {
            result = &mut over => panic!("over at once: {result:?}"),
            () = tokio::task::yield_now() => std::fs::write(&path, lease(2, asked_at)).unwrap(),
        }
        over.await.unwrap();
        assert!(boot_time().milliseconds >= asked_at.milliseconds + 2000, "it ended before its renewal");
    }
}
