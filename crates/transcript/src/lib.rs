//! The transcript: the append-only account of one attempt.
//!
//! The runner writes it ([`Writer`]), dispatcherd follows it and ships its bytes ([`Follower`], woken by one
//! [`FileWatcher`]), relayd checks the bytes as they arrive ([`Verifier`]), and anybody can check a copy on a disk
//! ([`verify`]). The records themselves are in `aegir_protocol::record`. This crate knows no broker, and
//! starts no tasks.

mod digest;
mod follower;
mod last_record;
mod shorten;
mod verifier;
mod verify;
mod watcher;
mod writer;

pub use follower::{FollowError, Follower, Piece};
pub use last_record::finished;
pub use verifier::{Verifier, VerifyError};
pub use verify::{VerifyReport, verify};
pub use watcher::{FileChanges, FileWatcher, WatchError};
pub use writer::{Position, WriteError, Writer};
