//! relayd's HTTP API, from the side of those who ask: `aegir`, tests, chores.
//!
//! | module | holds |
//! |---|---|
//! | [`address`] | where relayd listens |
//! | [`client`] | asking and reading the answer |
//! | [`download`] | reading a long answer to its end, however often the connection breaks |
//! | [`follow`], `sse` | watching an Operation to its end, the same way |
//! | [`error`] | what can go wrong |

pub mod address;
pub mod client;
pub mod download;
pub mod error;
pub mod follow;
mod sse;

pub use client::Client;
pub use error::ClientError;
pub use reqwest::Method;
