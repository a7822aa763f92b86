//! What the programs share: config files, secrets, logging, systemd, signals, directories, metrics, exit codes.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`secret`] | reading a TOML file with errors that point; secrets from credentials or closed files |
//! | [`logging`], [`metrics`] | where log events go; a registry and its text |
//! | [`systemd`], [`shutdown`] | readiness, status and the watchdog; signals, named tasks, and the deadline for their end |
//! | [`error`], [`io_error`], [`environment`] | an error as one sentence; errors that pass; what started programs inherit |
//! | [`directory`], [`atomic`] | the state directory and its lock, the runtime directory; replacing a file |
//! | [`exit`] | every exit code |
//! | [`terminal`] | what minions and programs say, made harmless for a terminal |

pub mod atomic;
pub mod config;
pub mod directory;
pub mod environment;
pub mod error;
pub mod exit;
pub mod io_error;
pub mod logging;
pub mod metrics;
pub mod secret;
pub mod shutdown;
pub mod systemd;
pub mod terminal;

/// The version of these programs: they are released together.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
