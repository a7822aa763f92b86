//! dispatcherd: turns Operations into Tasks and carries them out on minions.
//!
//! | module | holds |
//! |---|---|
//! | [`config`], [`identity`] | the config file; the key that secrets are sealed for |
//! | [`catalog`] | roles and their manifests, kept by digest, sent to the frontends |
//! | [`intake`] | from the broker into the journal |
//! | [`journal`] | all attempts, as directories |
//! | [`slots`] | who may start, and who is next: claims and grants |
//! | [`planner`], [`plan`] | from an Operation to its Tasks, or to a reason |
//! | [`vault`] | passwords of Ansible Vault |
//! | [`supervise`], [`launch`] | an attempt from grant to tombstone; the runner's process |
//! | [`ship`] | bringing transcripts to relayd |
//! | [`control`], [`heartbeat`], [`frontends`] | what comes from relayd, and what goes there |
//! | [`runner`], [`minions`], [`secrets`] | what carries an attempt out, in a process of its own |
//! | [`app`], [`node`] | all of it wired together |

pub mod app;
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
pub mod lease;
pub mod minions;
pub mod node;
pub mod operator;
pub mod plan;
pub mod planner;
pub mod runner;
pub mod secrets;
pub mod ship;
pub mod slots;
pub mod spool;
pub mod supervise;
pub mod vault;
