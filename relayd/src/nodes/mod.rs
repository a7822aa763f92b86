//! Which nodes are alive, and what they answer. Kept in memory: nodes say it again.

mod echoes;
pub(crate) mod heard;

pub use echoes::{PendingEcho, PendingEchoes};
pub use heard::{NodeCapacity, Nodes};
