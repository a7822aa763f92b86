//! Roles on the disk: finding them, saying what is wrong with one, and beginning a new one.
//!
//! dispatcherd makes its catalog of them, and `aegir role` helps those who write them: both look at a role with the
//! same eyes.

pub mod files;
mod load;
mod new;
#[cfg(test)]
mod schema;
mod undeclared;
mod uses;

pub use load::{Found, Located, MANIFEST, Places, check, load, roles_in};
pub use new::{NewError, new};
