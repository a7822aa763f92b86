//! relayd against a real broker, with a node that is played by the test.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod dead;
mod disk;
mod life;
mod messages;
mod node;
mod order;
mod start;
mod submissions;
mod world;
