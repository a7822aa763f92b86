//! Where the parts of one attempt lie.

use std::path::{Path, PathBuf};

use aegir_protocol::id::AttemptId;

/// The directory of one attempt: `<state>/operations/<id>/<attempt>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptDirectory(PathBuf);

impl AttemptDirectory {
    /// The directory of this attempt below a state directory.
    #[must_use]
    pub fn of(state: &Path, attempt: AttemptId) -> Self {
        let operation = state.join("operations").join(attempt.operation.to_string());
        Self(operation.join(attempt.attempt.to_string()))
    }

    /// The directory at this path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The message as it was delivered, envelope included, secrets sealed.
    #[must_use]
    pub fn operation(&self) -> PathBuf {
        self.0.join("operation.json")
    }

    /// The Tasks that it became.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.0.join("plan.json")
    }

    /// The only log.
    #[must_use]
    pub fn transcript(&self) -> PathBuf {
        self.0.join("transcript")
    }

    /// Locked (flock, exclusive) by the runner as long as it lives.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Written by dispatcherd to call the attempt off: an [`aegir_protocol::message::Cancel`] as JSON. The
    /// runner watches its directory for it.
    #[must_use]
    pub fn cancel(&self) -> PathBuf {
        self.0.join("cancel.json")
    }

    /// Written by dispatcherd for an attempt that has a lease: the last that relayd gave, an
    /// [`aegir_protocol::message::Lease`] as JSON.
    #[must_use]
    pub fn lease(&self) -> PathBuf {
        self.0.join("lease.json")
    }

    /// Locked (flock, exclusive) by dispatcherd while the spool is full: the runner reads nothing of its children. The
    /// runner watches its directory for it.
    #[must_use]
    pub fn hold(&self) -> PathBuf {
        self.0.join("hold")
    }

    /// Locked (flock, exclusive) by the runner while the disk has no room for what its children print.
    #[must_use]
    pub fn full(&self) -> PathBuf {
        self.0.join("full")
    }

    /// Written by the runner before a child may go on: the child's process group, as JSON.
    #[must_use]
    pub fn child(&self) -> PathBuf {
        self.0.join("child.json")
    }

    /// What relayd says that has no such attempt: an [`aegir_protocol::message::Unknown`] as JSON. Its transcript is
    /// kept until relayd knows it again, or an operator lets go of it.
    #[must_use]
    pub fn unknown(&self) -> PathBuf {
        self.0.join("unknown.json")
    }

    /// Left by `dispatcherd spool forget`, empty: the transcript is to be let go of. dispatcherd watches for it.
    #[must_use]
    pub fn forget(&self) -> PathBuf {
        self.0.join("forget")
    }

    /// What the runner's own messages go to: not the transcript, but why there may be none.
    #[must_use]
    pub fn runner_log(&self) -> PathBuf {
        self.0.join("runner.log")
    }

    /// The end that relayd must still be told: an attempt with this file is not started any more.
    #[must_use]
    pub fn report(&self) -> PathBuf {
        self.0.join("report.json")
    }

    /// What stays for 30 days after the end, so that the attempt is known and does not run again.
    #[must_use]
    pub fn tombstone(&self) -> PathBuf {
        self.0.join("ended.json")
    }

    /// What a Task runs with; removed at its end.
    #[must_use]
    pub fn task(&self, number: u32, name: &str) -> PathBuf {
        self.0.join("tasks").join(format!("{number}-{name}"))
    }
}
