//! The spool: transcripts that lie here because relayd has not receipted them.
//!
//! | module | holds |
//! |---|---|
//! | `level` | how full it is |
//! | `limit` | what follows from that for runners |

mod level;
mod limit;

pub use level::Level;
pub use limit::{Limit, blocked};
