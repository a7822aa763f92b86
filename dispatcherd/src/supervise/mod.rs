//! One attempt, from the grant to the tombstone.
//!
//! Each function here is a task of its own that may be dropped at any point, when dispatcherd stops: what
//! it was about is found again in the journal.

mod end;
mod prepare;
mod run;

pub use end::{cancel, close_refused, renew, report, send_report};
pub use run::{adopt, start};
