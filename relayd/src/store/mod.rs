//! relayd's store: one SQLite database, and the only place that knows so.
//!
//! One task writes ([`StoreWriter`]), taking all that waits into one transaction; readers work beside it. Once a
//! command is committed, what follows from it happens ([`CommitEffects`]), and it is answered.

mod accepted;
mod batch;
mod effects;
mod error;
mod handle;
mod locks;
mod open;
mod read;
mod rows;
mod status;
mod tails;
pub mod write;
mod writer;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use effects::{AfterCommit, CommitEffects};
pub use error::StoreError;
pub use handle::Store;
pub use open::OpenError;
pub(crate) use read::MAX_PAGE;
#[cfg(test)]
pub(crate) use read::is_full;
pub use read::{DeadLetterFilter, Dispatched, DryRunPlan, OperationFilter, TargetFilter, TranscriptPiece};
pub use writer::{Counters, StoreWriter, WriteCommand};
