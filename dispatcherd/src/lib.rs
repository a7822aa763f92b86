//! dispatcherd: turns Operations into Tasks and carries them out on minions.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`identity`] | the config file; the key that secrets are sealed for |
//! | [`catalog`] | roles and their manifests, kept by digest, sent to the frontends |
//! | [`intake`] | from the broker into the journal |
//! | [`journal`] | all attempts, as directories |
//! | [`slots`], [`blocked_starts`] | who may start, and who is next: claims and grants; what was granted and can't start now |
//! | [`planner`] | from an Operation to its Tasks, or to a reason |
//! | [`supervise`], [`launch`], [`leftovers`] | an attempt from grant to tombstone; the runner's process; what a dead runner has left |
//! | [`ship`], [`spool`] | bringing transcripts to relayd; what has not arrived there yet |
//! | [`control`], [`heartbeat`], [`frontends`] | what comes from relayd, and what goes there |
//! | [`operator`], [`drain`], [`minion_command`] | the operator's commands |
//! | [`app`], [`node`] | all of it wired together |
//!
//! What carries an attempt out is a process of its own, `dispatcherd runner DIR`, and a crate of its own,
//! `crates/runner`. The two speak by files in the attempt's directory (`crates/attempt`).

pub mod app;
pub mod blocked_starts;
pub mod catalog;
pub mod config;
pub mod control;
pub mod drain;
pub mod frontends;
pub mod heartbeat;
pub mod identity;
pub mod intake;
pub mod journal;
pub mod launch;
pub mod leftovers;
pub mod minion_command;
pub mod node;
pub mod operator;
pub mod planner;
pub mod ship;
pub mod slots;
pub mod spool;
pub mod supervise;
