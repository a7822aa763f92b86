//! Where Operations stand, and how they get from one state to the next.
//!
//! [`machine`] decides; the store writes down what it decided, in one transaction with what caused it.

mod effect;
mod ends;
mod event;
pub mod machine;

#[cfg(test)]
mod leases;
#[cfg(test)]
mod orders;

pub use effect::{FRONTEND, LedgerEffect, LedgerRow, RELAYD, Refusal, Transition};
pub use event::LedgerEvent;
pub use machine::{OperationStatus, RetryPolicy, step};
