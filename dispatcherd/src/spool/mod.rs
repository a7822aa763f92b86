//! The spool: transcripts that lie here because relayd has not receipted them.
//!
//! | module | holds |
//! |---|---|
//! | `command` | `dispatcherd spool`, for operators |
//! | `level` | how full it is |
//! | `limit` | what follows from that for runners |

pub mod command;
mod level;
mod limit;

pub use level::Level;
pub use limit::{Limit, blocked};
