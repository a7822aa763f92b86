//! The roles of this repository, run by a real ansible-playbook with the minion on the same machine.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod manifests;
mod play;
mod static_site;
