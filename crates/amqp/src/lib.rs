//! The only user of lapin: what we declare on the broker, one supervised session, a confirmed publisher,
//! consumers that can be paused, and the way to the dead-letter queue.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | where the broker is, and the credentials for it |
//! | [`topology`] | what a frontend and a node declare, as data |
//! | [`session`] | [`SessionBuilder`](session::SessionBuilder) and [`BrokerSession`](session::BrokerSession): connect, declare, run, report, back off |
//! | [`publisher`] | publishing with confirms, many in flight |
//! | [`consumer`] | deliveries, and what can be done with one |
//! | [`dead`] | what a message looks like in `aegir.dead` |
//!
//! lapin reports several failures as success; the doc comments in these modules say which, and
//! nothing outside this crate has to know. lapin's automatic recovery stays off: it hides outages, gives up
//! after a while and leaves out what ends a channel, so that a supervisor is needed in any case.

mod activity;
mod backoff;
pub mod config;
mod connect;
pub mod consumer;
pub mod dead;
mod declare;
mod endpoint;
mod greeting;
mod loopback_probe;
mod outgoing;
mod probe;
mod progress;
mod publish;
pub mod publisher;
mod pump;
mod runtime_topology;
pub mod session;
mod status;
mod supervise;
mod tls;
pub mod topology;

pub use config::BrokerConfig;
pub use consumer::{Consume, ConsumeControl, Deliveries, Delivery, SettleError};
pub use greeting::ServerProperties;
pub use publisher::{Outgoing, PendingConfirm, PublishError, Publisher};
pub use session::{BrokerSession, SessionBuilder, Status};
pub use topology::Topology;

/// A `tracing` filter directive that programs set: lapin prints every returned message with its whole body, and
/// repeats as errors what this crate reports once and in its own words.
pub const LOG_DIRECTIVE: &str = "lapin=off";
