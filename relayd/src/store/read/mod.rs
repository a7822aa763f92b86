//! What can be read: methods of [`Store`](super::Store).

mod deadlines;
mod operations;
mod outbox;
mod settings;
mod transcript;

pub(super) use operations::document;
pub use operations::{OperationFilter, TargetFilter};
pub use transcript::TranscriptPiece;
