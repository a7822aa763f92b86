//! Starting a runner, and finding it again after a restart.
//!
//! A runner is a process of its own that holds a lock on its directory for life. Nothing else tells whether
//! it is alive: a process id would be another process's after a while, and dispatcherd, whose child it is,
//! may be restarted at any moment.

mod lock;
mod process;

pub use lock::{Alive, alive, gone, locked};
pub(crate) use process::ended;
pub use process::{Launcher, start};
