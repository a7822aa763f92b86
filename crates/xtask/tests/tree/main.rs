//! What the tree is held to: one word for one thing, and layers that know only what is below them.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod bugs;
mod circles;
mod glossary;
mod imports;
mod layers;
mod source;
mod walk;
