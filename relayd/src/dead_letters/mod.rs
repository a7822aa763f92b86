//! Dead letters: messages that nobody could handle, taken from `aegir.dead` into the store.
//!
//! A queue can't be browsed without counting deliveries and changing its order, so relayd takes what is in it,
//! commits, and acknowledges. It takes as much as [`MAX_DEAD_LETTERS`] and [`MAX_DEAD_LETTER_BYTES`] allow; the
//! rest stays in the queue until letters are replayed or dropped.
//!
//! [`MAX_DEAD_LETTERS`]: aegir_protocol::limits::MAX_DEAD_LETTERS
//! [`MAX_DEAD_LETTER_BYTES`]: aegir_protocol::limits::MAX_DEAD_LETTER_BYTES

mod collect;
mod limit;
mod replay;
mod service;
mod sort;

pub use collect::{Collector, PREFETCH};
pub use limit::LetterLimit;
pub use service::DeadLetters;
