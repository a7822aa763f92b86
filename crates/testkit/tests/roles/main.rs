//! The roles of this repository, run by a real ansible-playbook with the minion on the same machine.

mod manifests;
mod play;
mod static_site;
