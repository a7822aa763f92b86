//! Container images, and the localdev that is made of them.

mod base;
mod engine;
pub(crate) mod images;
pub(crate) mod localdev;
pub(crate) mod suite;
