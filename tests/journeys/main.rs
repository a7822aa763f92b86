//! End-to-end journeys: a real broker, both daemons, a real sshd, ansible-playbook and nginx, driven as a
//! frontend drives them.

mod attempts;
mod bad_input;
mod browser;
mod client;
mod deploy;
mod documents;
mod faults;
mod feedback;
mod output;
mod page;
mod pages;
mod php;
mod plans;
mod restarts;
mod roles;
mod runners;
mod secrets;
mod submissions;
mod tls;
mod tutorial;
mod world;
