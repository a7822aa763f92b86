//! The crate against a real broker.
#![expect(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod consuming;
mod dead;
mod declaring;
mod harness;
mod losing;
mod publishing;
mod tls;
mod unreadable;
