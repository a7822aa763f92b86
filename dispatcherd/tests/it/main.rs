//! dispatcherd as a whole: the real program, a real broker, and a relayd that does as it is told.

#![allow(clippy::unwrap_used, reason = "a test that can't go on fails here, with the place where it was")]

mod disk;
mod draining;
mod life;
mod relayd;
mod restarts;
mod shipping;
mod spool;
mod world;
