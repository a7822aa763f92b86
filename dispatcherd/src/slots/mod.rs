//! Who may start, and who is next.

mod run;
mod state;

#[cfg(test)]
mod tests;

pub use run::run;
pub use state::{LeaseState, Occupancy, SlotEffect, SlotEvent, Slots};
