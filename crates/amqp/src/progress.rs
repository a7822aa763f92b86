//! Whether the supervisor still does anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When the supervisor last did something, for the watchdog.
#[derive(Clone, Debug)]
pub(crate) struct SupervisorProgress {
    start: Instant,
    milliseconds: Arc<AtomicU64>,
}

impl SupervisorProgress {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now(), milliseconds: Arc::new(AtomicU64::new(0)) }
    }

    pub(crate) fn note(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.milliseconds.store(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn age(&self) -> Duration {
        let last = Duration::from_millis(self.milliseconds.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(last)
    }
}
