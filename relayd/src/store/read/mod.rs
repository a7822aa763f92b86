//! What can be read: methods of [`Store`](super::Store).

mod dead;
mod deadlines;
mod documents;
mod done;
mod operations;
mod outbox;
mod plan;
mod settings;
mod transcript;

pub use dead::DeadLetterFilter;
#[cfg(test)]
pub(crate) use dead::is_full;
pub(crate) use operations::MAX_PAGE;
pub use operations::{OperationFilter, TargetFilter};
pub use outbox::Dispatched;
#[cfg(test)]
pub(super) use outbox::OUTBOX_QUERIES;
pub use plan::DryRunPlan;
pub use transcript::TranscriptPiece;
