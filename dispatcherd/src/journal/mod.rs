//! The backend's journal is the file system: one directory for each attempt.
//!
//! Where an attempt stands is derived from the files that it has, in this order:
//!
//! | file | means |
//! |---|---|
//! | `ended.json` | over, and relayd knows; the rest of the directory may go |
//! | `report.json` | over without a `finished` record, and relayd must still be told |
//! | `transcript`, or a `lock` that is held | a runner was started |
//! | `operation.json` | journaled: delivered, acknowledged, not started |
//!
//! Beside them, `unknown.json` says that relayd has no such attempt; its transcript stays.
//!
//! A file is complete when it is there: all but `operation.json` and `transcript` appear by a rename, an
//! `operation.json` that is torn was never acknowledged, and a transcript's torn last line is not read.

mod ended;
mod files;
mod list;
mod prune;
mod scan;
mod take;

pub use ended::{PendingReport, Tombstone};
pub use files::{Journal, JournalError};
pub use list::SpoolState;
pub use prune::Pruned;
pub use scan::{RecoveredAttempt, RecoveredState};
pub use take::{Arrival, Taken};

#[cfg(test)]
mod tests;
