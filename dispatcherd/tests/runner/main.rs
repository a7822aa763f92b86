//! The real runner on directories made by hand: `dispatcherd runner DIR`, without broker and daemon.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what is meant")]

mod ansible;
mod callback;
mod case;
mod documents;
mod full_disk;
mod logins;
mod minions;
mod playbooks;
mod plugin;
mod results;
mod shell;
mod unreachable;
