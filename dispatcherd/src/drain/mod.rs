//! Draining: the node takes nothing new and claims nothing that waits; what runs, runs on.
//!
//! Between the command and the daemon is the state directory, so that both the wish and the answer outlive either:
//!
//! | file | written by | says |
//! |---|---|---|
//! | `drain` | `dispatcherd drain` | the node is to drain; removed by `--undo`. Empty, so that a full disk takes it |
//! | `draining.json` | the daemon | that it does, and what is left: [`Draining`] |

pub mod command;
mod follow;

use std::io;
use std::path::{Path, PathBuf};

use aegir_protocol::id::AttemptId;
use serde::{Deserialize, Serialize};

pub use follow::Drain;

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
fn wish(state: &Path) -> PathBuf {
    state.join("drain")
}

/// The answer.
fn answer(state: &Path) -> PathBuf {
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
fn read(state: &Path) -> io::Result<Option<Draining>> {
    match std::fs::read(answer(state)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
