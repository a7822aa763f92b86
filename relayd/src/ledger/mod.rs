//! Where Operations stand, and how they get from one state to the next.
//!
//! [`step`] decides; the store writes down what it decided, in one transaction with what caused it.

mod claim;
mod effect;
mod ends;
mod event;
mod machine;
mod retry;
mod status;

#[cfg(test)]
mod leases;
#[cfg(test)]
mod orders;

pub use effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
pub use event::LedgerEvent;
pub use machine::step;
pub use status::{CancelRequested, OperationStatus, RetryPolicy};
