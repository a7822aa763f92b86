//! Blocks runners while the spool is full.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::lock::locked;
use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Blocked;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::level::Level;
use crate::node::Node;
use crate::slots::Occupancy;

/// How often the spool is measured: what children print between two looks comes on top of the limit.
const LOOK: Duration = Duration::from_millis(250);

/// Measures the spool, and holds runners up.
#[derive(Debug)]
pub struct Limit {
    /// What it is part of.
    pub node: Arc<Node>,
    /// How many bytes may lie here.
    pub bytes: u64,
    /// What runs.
    pub occupancy: watch::Receiver<Occupancy>,
    /// How full the spool is.
    pub level: watch::Sender<Level>,
}

impl Limit {
    /// Goes on for ever. When it is dropped every runner goes on: nobody would measure for it any more.
    pub async fn run(self) {
        let mut holds: HashMap<AttemptId, File> = HashMap::new();
        let mut ticks = interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let bytes = self.node.uploads.spool_bytes();
            let before = *self.level.borrow();
            let level = before.next(bytes, self.bytes);
            if level != before {
                say(level, bytes, self.bytes);
                self.level.send_replace(level);
            }
            if level == Level::Full {
                let running = self.occupancy.borrow().running.clone();
                holds.retain(|attempt, _| running.contains(attempt));
                for attempt in running {
                    if !holds.contains_key(&attempt) {
                        holds.extend(self.hold(attempt).map(|hold| (attempt, hold)));
                    }
                }
            } else {
                holds.clear();
            }
        }
    }

    fn hold(&self, attempt: AttemptId) -> Option<File> {
        match create_locked(&self.node.journal.directory(attempt)) {
            Ok(hold) => Some(hold),
            Err(error) => {
                tracing::error!(
                    operation_id = %attempt.operation, attempt = attempt.attempt.get(), %error,
                    "a runner could not be blocked although the spool is full"
                );
                None
            }
        }
    }
}

fn say(level: Level, bytes: u64, limit: u64) {
    match level {
        Level::Open => tracing::info!(bytes, limit, "the spool has room again"),
        Level::Closed => {
            tracing::warn!(bytes, limit, "the spool is nearly full; no new Operations are taken");
        }
        Level::Full => tracing::error!(
            bytes,
            limit,
            "the spool is full; children wait until relayd has received more. See `dispatcherd spool ls`"
        ),
    }
}

/// Locks the file before it has its name, so that whoever sees the name finds it locked.
fn create_locked(directory: &AttemptDirectory) -> io::Result<File> {
    let new = directory.path().join("hold.new");
    let file = File::create(&new)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    std::fs::rename(&new, directory.hold())?;
    Ok(file)
}

/// Since when the children of an attempt wait and why, if they do.
#[must_use]
pub fn blocked(attempt: AttemptId, directory: &AttemptDirectory) -> Option<Blocked> {
    // What can't be looked at is not blocked as far as one knows; this is for people only.
    let since = |path: &Path| {
        let is_held = locked(path).unwrap_or(false);
        let made = is_held.then(|| std::fs::metadata(path).and_then(|file| file.modified()).ok());
        made.flatten().and_then(|made| Timestamp::try_from(made).ok())
    };
    let (since, reason) = match (since(&directory.full()), since(&directory.hold())) {
        (Some(since), _) => {
            let what = "the disk of the state or runtime directory is full, and what runs waits with what it writes \
                        there: make room, and it goes on by itself";
            (since, Code::DiskFull.because(what))
        }
        (None, Some(since)) => {
            let what = "the spool is full, and children wait with what they print until relayd has received \
                        more: see relayd's log, and `dispatcherd spool ls` there";
            (since, Code::SpoolFull.because(what))
        }
        (None, None) => return None,
    };
    Some(Blocked { operation: attempt.operation, attempt: attempt.attempt, since, reason })
}
