//! Why a Task is stopped: the attempt is canceled, a time limit or the lease is over, the output is too much, the disk fails.
//!
//! The runner obeys `cancel.json` in its directory and nothing else: signals that reach it are most often
//! meant for dispatcherd, whose restart a running attempt must not notice.

use std::future::{Future, pending};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_attempt::LeaseFile;
use aegir_protocol::code::Code;
use aegir_protocol::message::Cancel;
use aegir_protocol::state::{Outcome, Reason};
use aegir_transcript::FileChanges;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Why a Task is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Somebody called the attempt off.
    Canceled {
        /// Who, in the frontend's words.
        by: Option<String>,
    },
    /// The Task took longer than it may.
    TaskTime {
        /// How long it may take.
        seconds: u64,
    },
    /// The attempt took longer than it may.
    OperationTime {
        /// How long it may take.
        seconds: u64,
    },
    /// The Task printed nothing for longer than it may.
    Quiet {
        /// How long it may print nothing.
        seconds: u64,
    },
    /// relayd was not heard of for longer than the attempt's lease, and may have begun another attempt.
    LeaseOver,
    /// The attempt printed more than it may.
    OutputLimit {
        /// How much it may print.
        bytes: u64,
    },
    /// The runner can't go on.
    Broken(Reason),
}

impl Stop {
    /// What it makes of the attempt.
    #[must_use]
    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Canceled { .. } => Outcome::Canceled,
            // What became of it is relayd's to say, which may have given it up already.
            Self::LeaseOver => Outcome::Lost,
            Self::TaskTime { .. }
            | Self::OperationTime { .. }
            | Self::Quiet { .. }
            | Self::OutputLimit { .. }
            | Self::Broken(_) => Outcome::Failed,
        }
    }

    /// The reason that is recorded.
    #[must_use]
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Canceled { by: Some(by) } => Code::CanceledByRequest.because(format!("canceled by {by}")),
            Self::Canceled { by: None } => Code::CanceledByRequest.because("canceled"),
            Self::TaskTime { seconds } => {
                Code::TimedOut.because(format!("the Task took longer than the {seconds} s that it may take"))
            }
            Self::OperationTime { seconds } => Code::TimedOut
                .because(format!("the Operation took longer than the {seconds} s that it may take")),
            Self::Quiet { seconds } => Code::TimedOut
                .because(format!("the Task printed nothing for the {seconds} s that it may be quiet")),
            Self::LeaseOver => Code::LeaseExpired.because(
                "the attempt stopped itself: relayd was not heard of for longer than its lease, and may have begun \
                 another attempt",
            ),
            Self::OutputLimit { bytes } => Code::OutputLimit.because(format!(
                "the attempt printed more than {bytes} bytes; what came after them is not in the \
                 transcript. Make it print less, or raise limits.output_bytes in dispatcherd's config"
            )),
            Self::Broken(reason) => reason.clone(),
        }
    }
}

/// How long an interrupted child may take to end by itself, unless its Task says another time. The lease's margin is
/// made for this one.
const GRACE: Duration = Duration::from_secs(10);

/// What was said to those who wait.
#[derive(Clone, Debug, Default)]
struct Said {
    stop: Option<Stop>,
    /// The lease is over, perhaps after another stop: no grace may be longer than [`GRACE`] any more.
    lease_over: bool,
}

/// Stops the attempt.
#[derive(Clone, Debug)]
pub(super) struct Stopper(watch::Sender<Said>);

/// Learns of a stop. Cheap to clone; each clone learns of it.
#[derive(Clone, Debug)]
pub(super) struct Stops {
    said: watch::Receiver<Said>,
    task: Option<(Instant, u64)>,
    operation: Option<(Instant, u64)>,
    /// How long the Task may print nothing.
    quiet: Option<u64>,
    grace: Duration,
}

/// The two ends.
#[must_use]
pub(super) fn stops(operation_seconds: Option<u64>) -> (Stopper, Stops) {
    let (sender, said) = watch::channel(Said::default());
    let operation = operation_seconds.map(deadline);
    (Stopper(sender), Stops { said, task: None, operation, quiet: None, grace: GRACE })
}

fn deadline(seconds: u64) -> (Instant, u64) {
    // A century is as good as no deadline, and can be added to an instant.
    let capped = seconds.min(100 * 365 * 24 * 3600);
    (Instant::now() + Duration::from_secs(capped), seconds)
}

impl Stopper {
    /// Stops the attempt. The first reason stays.
    pub(super) fn stop(&self, stop: Stop) {
        self.0.send_if_modified(|said| {
            let hurries = stop == Stop::LeaseOver && !said.lease_over;
            said.lease_over |= hurries;
            let first = said.stop.is_none();
            if first {
                said.stop = Some(stop);
            }
            first || hurries
        });
    }
}

impl Stops {
    /// The same for a Task that begins now, and may take so long, and print nothing for so long.
    #[must_use]
    pub(super) fn for_task(&self, seconds: u64, quiet: Option<u64>) -> Self {
        Self { task: Some(deadline(seconds)), quiet, ..self.clone() }
    }

    /// The same for a child that may take so long to end after it was interrupted.
    #[must_use]
    pub(super) fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How long an interrupted child may take to end by itself.
    #[must_use]
    pub(super) fn grace(&self) -> Duration {
        if self.lease_is_over() { self.grace.min(GRACE) } else { self.grace }
    }

    /// Whether the lease is over.
    #[must_use]
    pub(super) fn lease_is_over(&self) -> bool {
        self.said.borrow().lease_over
    }

    /// Waits until the lease is over, after which the grace is a short one. May be dropped and called again.
    pub(super) async fn lease_over(&mut self) {
        if self.said.wait_for(|said| said.lease_over).await.is_err() {
            pending::<()>().await;
        }
    }

    /// When a child that was last heard of at this moment has been quiet for too long, and the stop for it.
    #[must_use]
    pub(super) fn quiet_after(&self, heard: Instant) -> Option<(Instant, Stop)> {
        self.quiet.map(|seconds| (heard + Duration::from_secs(seconds), Stop::Quiet { seconds }))
    }

    /// What was said so far.
    #[must_use]
    pub(super) fn now(&self) -> Option<Stop> {
        self.said.borrow().stop.clone()
    }

    /// Waits for a stop. May be dropped and called again.
    pub(super) async fn stopped(&mut self) -> Stop {
        let (task, operation) = (self.task, self.operation);
        tokio::select! {
            biased;
            stop = said(&mut self.said) => stop,
            seconds = passed(operation) => Stop::OperationTime { seconds },
            seconds = passed(task) => Stop::TaskTime { seconds },
        }
    }

    /// Carries something out unless there is a stop first.
    ///
    /// # Errors
    /// The stop; the future is dropped then.
    pub(super) async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            stop = self.stopped() => Err(stop),
            value = future => Ok(value),
        }
    }
}

async fn said(receiver: &mut watch::Receiver<Said>) -> Stop {
    let found = receiver.wait_for(|said| said.stop.is_some()).await.ok().and_then(|said| said.stop.clone());
    match found {
        Some(stop) => stop,
        None => pending().await,
    }
}

async fn passed(deadline: Option<(Instant, u64)>) -> u64 {
    match deadline {
        Some((at, seconds)) => {
            sleep_until(at).await;
            seconds
        }
        None => pending().await,
    }
}

/// Waits until the lease is over. Where that can't be waited for, it is as good as over.
pub(super) async fn watch_lease(lease: LeaseFile, stopper: Stopper) {
    if let Err(error) = lease.over().await {
        tracing::error!(%error, "the end of the lease can't be waited for");
    }
    stopper.stop(Stop::LeaseOver);
}

/// Whether there is a `cancel.json`. What it says besides "stop" is for people; on a full disk it is empty.
pub(super) fn canceled(path: &Path) -> Option<Stop> {
    let bytes = std::fs::read(path).ok()?;
    let by = serde_json::from_slice::<Cancel>(&bytes).ok().and_then(|cancel| cancel.requested_by);
    Some(Stop::Canceled { by })
}

/// Waits for `cancel.json` and hands it on. Ends when it has, or when the directory can't be watched.
pub(super) async fn watch_for_cancel(path: PathBuf, mut changes: FileChanges, stopper: Stopper) {
    loop {
        if let Some(stop) = canceled(&path) {
            stopper.stop(stop);
            return;
        }
        if let Err(error) = changes.changed().await {
            tracing::error!(%error, "the attempt can't be canceled any more: its directory can't be watched");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_stop_stays_and_everyone_learns_of_it() {
        let (stopper, stops) = stops(Some(10));
        let (mut one, mut other) = (stops.clone(), stops.for_task(5, None));
        stopper.stop(Stop::Canceled { by: None });
        stopper.stop(Stop::OutputLimit { bytes: 1 });
        assert_eq!(one.stopped().await, Stop::Canceled { by: None });
        assert_eq!(other.stopped().await, Stop::Canceled { by: None });
        assert_eq!(stops.now(), Some(Stop::Canceled { by: None }));
    }

    #[tokio::test(start_paused = true)]
    async fn no_grace_is_long_when_the_lease_is_over() {
        let (stopper, stops) = stops(None);
        let long = Duration::from_secs(600);
        let mut stops = stops.with_grace(long);
        stopper.stop(Stop::Canceled { by: None });
        assert_eq!(stops.grace(), long);
        tokio::time::timeout(long, stops.lease_over()).await.unwrap_err();
        stopper.stop(Stop::LeaseOver);
        stops.lease_over().await;
        assert_eq!((stops.now(), stops.grace()), (Some(Stop::Canceled { by: None }), GRACE));
        assert_eq!(stops.with_grace(Duration::from_secs(1)).grace(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_of_two_times_stops() {
        let (_stopper, stops) = stops(Some(10));
        assert_eq!(stops.for_task(u64::MAX, None).unless(async { 3 }).await, Ok(3));
        assert_eq!(stops.for_task(5, None).stopped().await, Stop::TaskTime { seconds: 5 });
        assert_eq!(stops.for_task(50, None).stopped().await, Stop::OperationTime { seconds: 10 });
    }
}
