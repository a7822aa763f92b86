//! The only user of lapin: what we declare on the broker, one supervised session, a confirmed publisher,
//! consumers that can be paused, and the way to the dead-letter queue.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | where the broker is, and the credentials for it |
//! | [`topology`] | what a frontend and a node declare, as data |
//! | [`session`] | [`Builder`](session::Builder) and [`Link`](session::Link): connect, declare, run, report, back off |
//! | [`publisher`] | publishing with confirms, many in flight |
//! | [`consumer`] | deliveries, and what can be done with one |
//! | [`dead`] | what a message looks like in `aegir.dead` |
//!
//! lapin reports several failures as success; the doc comments in these modules say which, and
//! nothing outside this crate has to know. lapin's automatic recovery stays off: it hides outages, gives up
//! after a while and leaves out what ends a channel, so that a supervisor is needed in any case.

mod additions;
mod backoff;
mod canary;
pub mod config;
mod connect;
pub mod consumer;
pub mod dead;
mod greeting;
mod probe;
mod publish;
pub mod publisher;
mod pump;
pub mod session;
mod signs;
mod status;
mod supervise;
mod tls;
pub mod topology;

pub use config::Config;
pub use consumer::{Consume, ConsumeControl, Deliveries, Delivery, SettleError};
pub use greeting::Greeting;
pub use publisher::{Outgoing, Pending, PublishError, Publisher};
pub use session::{Builder, Link, Status};
pub use topology::Topology;

/// A `tracing` filter directive that programs set: lapin prints every returned message with its whole body, and
/// repeats as errors what this crate reports once and in its own words.
pub const LOG_DIRECTIVE: &str = "lapin=off";
