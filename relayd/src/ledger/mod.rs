//! Where Operations stand, and how they get from one state to the next.
//!
//! [`machine`] decides; the store writes down what it decided, in one transaction with what caused it.

pub mod machine;

#[cfg(test)]
mod orders;

pub use machine::{Effect, Event, LedgerRow, Refusal, Standing, Step, step};
