//! One attempt, from the grant to the tombstone.
//!
//! Each function here is a task of its own that may be dropped at any point, when dispatcherd stops: what
//! it was about is found again in the journal.

mod attend;
mod end;
mod held_up;
mod prepare;

pub use attend::{adopt, start};
pub use end::{bury, call_off, renew, report, tell};
pub use held_up::HeldUp;
