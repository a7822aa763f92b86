//! Who may start, and who is next.

mod lease_state;
mod run;
mod state;

#[cfg(test)]
mod tests;

pub use lease_state::{LeaseState, lease_state};
pub use run::run;
pub use state::{Occupancy, SlotEffect, SlotEvent, Slots};
