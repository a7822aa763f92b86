//! How relayd stands: ready or not, its metrics, and `aegir check`, which looks at each hop of the way to a minion.

mod check;
mod health;
mod metrics;
mod service;

pub use health::Readiness;
pub use metrics::RelayMetrics;
pub use service::Diagnosis;
