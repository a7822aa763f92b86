//! What the tree is held to: one word for one thing.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod glossary;
mod source;
