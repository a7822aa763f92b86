//! What is shipped beside the programs: the roles, run by a real ansible-playbook with the minion on the same
//! machine, and the example config files, read by the daemons themselves.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod configs;
mod manifests;
mod minion;
mod php_probe;
mod php_request;
mod php_served;
mod php_vhost;
mod play;
mod server_file;
mod static_served;
mod static_site;
