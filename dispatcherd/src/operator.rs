//! What the commands for the operator of a node have in common: `dispatcherd drain`, `dispatcherd spool`.
//!
//! They work on the state directory, whether a daemon runs there or not, and tell it by files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegir_attempt::lock::locked;
use aegir_service::exit::Exit;

use crate::journal::JournalError;

/// How long a daemon that runs may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// Why a command can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A file or directory.
    #[error(
        "could not {what} {}: {error}; run this as root or as the user that dispatcherd runs as", path.display()
    )]
    File {
        /// Read, write, remove.
        what: &'static str,
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Nothing in the journal has this name.
    #[error("nothing that relayd has not received is called {0}: see `dispatcherd spool ls`")]
    NotFound(String),
    /// More than one has it.
    #[error("{name} stands for more than one attempt: {}", .found.join(", "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it may mean.
        found: Vec<String>,
    },
    /// It runs.
    #[error("attempt {0} is running: cancel it first (`aegir cancel`), and wait for its end")]
    Running(String),
    /// There is nothing to let go of.
    #[error("attempt {0} has not started and has no transcript; use `aegir cancel` to remove it")]
    NotStarted(String),
    /// Nobody is there to agree.
    #[error("this needs a confirmation, and there is no terminal: add --yes")]
    NoConsent,
    /// Somebody said no.
    #[error("not confirmed; nothing was done")]
    Declined,
    /// The daemon has not done it in time.
    #[error("dispatcherd has not {0} yet; see its log")]
    NoAnswer(&'static str),
}

impl OperatorError {
    pub(crate) fn file(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { what, path, error }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::File { .. } | Self::Journal(_) => Exit::StateDirectoryUnwritable,
            Self::NotFound(_) => Exit::NotFound,
            Self::Ambiguous { .. } | Self::NoConsent => Exit::Usage,
            Self::Running(_) | Self::NotStarted(_) => Exit::Conflict,
            Self::Declined => Exit::Failed,
            Self::NoAnswer(_) => Exit::Unavailable,
        }
    }
}

/// The process of the daemon that runs on this state directory, if one does.
pub(crate) fn daemon(state: &Path) -> Result<Option<u32>, OperatorError> {
    let path = state.join("daemon.lock");
    if !locked(&path).map_err(OperatorError::file("read", &path))? {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(OperatorError::file("read", &path))?;
    // It has the lock and has not written its number yet.
    Ok(Some(text.trim().parse().unwrap_or(0)))
}

/// Looks until there is an answer. `None` when there is none in time.
pub(crate) fn answered<T>(
    mut look: impl FnMut() -> Result<Option<T>, OperatorError>,
) -> Result<Option<T>, OperatorError> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = look()? {
            return Ok(Some(answer));
        }
        if Instant::now() > end {
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}
