//! Slots: which journaled attempts are claimed, and which start.

mod lease_state;
pub(crate) mod run;
mod state;

#[cfg(test)]
mod tests;

pub use lease_state::{LeaseState, lease_state};
pub use state::{Occupancy, SlotEffect, SlotEvent, Slots};
