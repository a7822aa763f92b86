//! What a role's manifest may say, and what a backend can do: completing both, checking them, and checking an Operation and
//! its values against them.
//!
//! This crate does no I/O; roles on the disk are for `aegir-role`.
//!
//! | module | holds |
//! |---|---|
//! | [`manifest`] | what a role declares, and what is wrong with that |
//! | `complete` | what a role has of those that it builds on |
//! | `catalog`, `check` | what a backend can do, and checking an Operation against it |
//! | `wire`, `lenient` | reading what a newer version has sent |
//! | [`runner`] | what dispatcherd and a plug-in runner say to each other |
//! | [`schema`] | the JSON Schemas of all of them |

mod catalog;
mod check;
mod complete;
mod lenient;
pub mod manifest;
pub mod runner;
pub mod schema;
#[cfg(test)]
mod schema_tests;
mod wire;

pub use catalog::{Catalog, Resolved, Role, Subject};
pub use complete::complete;
