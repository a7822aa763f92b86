//! The command line for frontends and operators.
//!
//! It talks to relayd's HTTP API and to nothing else: what it can do, a program can do with the same calls
//! (`docs/reference/http-api.md`).
//!
//! | module | holds |
//! |---|---|
//! | [`arguments`], [`values`], [`address`] | what can be typed |
//! | [`request`] | from what was typed to a request |
//! | [`client`], [`sse`], [`follow`], [`download`] | relayd's API, watching an Operation and reading long answers through it |
//! | [`render`] | from data to text, pure |
//! | [`terminal`], [`watch`] | where the text goes |
//! | [`commands`] | one function for each command |

pub mod address;
pub mod arguments;
pub mod client;
pub mod commands;
pub mod download;
pub mod error;
pub mod follow;
pub mod follow_output;
pub mod render;
pub mod request;
pub mod sse;
pub mod terminal;
pub mod values;
