//! What can be read: methods of [`Store`](super::Store).

mod operations;
mod outbox;
mod settings;
mod transcript;

pub use operations::{OperationFilter, TargetFilter};
pub use transcript::TranscriptPiece;
