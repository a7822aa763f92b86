//! Two files in the state directory: `drain` asks for it, `draining.json` answers.

use std::io;
use std::path::{Path, PathBuf};

use aegir_protocol::id::AttemptId;
use serde::{Deserialize, Serialize};

/// What a draining daemon says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Of which process this is the word: what another one has left means nothing.
    pub process: u32,
    /// Attempts with a runner.
    pub running: Vec<AttemptId>,
    /// Attempts that relayd was asked for before, and may still grant.
    pub claiming: Vec<AttemptId>,
    /// Attempts that wait here and are not claimed; other nodes may have them.
    pub waiting: Vec<AttemptId>,
}

/// The wish.
pub(super) fn wish(state: &Path) -> PathBuf {
    state.join("drain")
}

/// The answer.
pub(super) fn answer(state: &Path) -> PathBuf {
    state.join("draining.json")
}

/// Whether the node is to drain.
#[must_use]
pub fn wanted(state: &Path) -> bool {
    wish(state).exists()
}

/// What a draining daemon has said last, if it has.
///
/// # Errors
/// When it can't be read.
pub(super) fn read(state: &Path) -> io::Result<Option<Draining>> {
    match std::fs::read(answer(state)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
