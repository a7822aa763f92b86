//! The command line for frontends and operators.
//!
//! It talks to relayd's HTTP API and to nothing else: what it can do, a program can do with the same calls
//! (`docs/reference/http-api.md`).
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`], [`values`] | what can be typed |
//! | [`request`], [`resolve`] | from what was typed to a request, and to the Operation that is meant |
//! | [`render`] | from data to text, pure |
//! | [`terminal`], [`follow_output`] | where the text goes |
//! | [`commands`] | one function for each command |

pub mod arguments;
pub mod commands;
pub mod error;
pub mod follow_output;
pub mod render;
pub mod request;
pub mod resolve;
pub mod terminal;
pub mod values;
