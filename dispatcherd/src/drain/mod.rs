//! Draining: the node takes nothing new and claims nothing that waits; what runs, runs on.
//!
//! Between the command and the daemon is the state directory, so that both the wish and the answer outlive either:
//!
//! | file | written by | says |
//! |---|---|---|
//! | `drain` | `dispatcherd drain` | the node is to drain; removed by `--undo`. Empty, so that a full disk takes it |
//! | `draining.json` | the daemon | that it does, and what is left: [`Draining`] |

pub mod command;
mod files;
mod follow;

pub use files::{Draining, wanted};
pub use follow::Drain;
