//! Who may start, and who is next.

mod lease_state;
pub(crate) mod run;
mod state;

#[cfg(test)]
mod tests;

pub use lease_state::{LeaseState, lease_state};
pub use state::{Occupancy, SlotEffect, SlotEvent, Slots};
