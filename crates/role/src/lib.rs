//! Roles on the disk: finding them, saying what is wrong with one, and beginning a new one.
//!
//! dispatcherd makes its catalog of them, and `aegir role` helps those who write them: both look at a role with the
//! same eyes.

pub mod files;
mod inspect;
mod load;
mod new;
mod places;
pub mod project;
#[cfg(test)]
mod schema_tests;
mod undeclared;
mod uses;

pub use inspect::Report;
pub use load::{Found, Located, check, load, report};
pub use new::{NewError, new};
pub use places::{MANIFEST, Places, roles_in};
