//! End-to-end journeys: a real broker, both daemons, a real sshd, ansible-playbook and nginx, driven as a
//! frontend drives them.

mod attempts;
mod bad_input;
mod client;
mod deploy;
mod documents;
mod output;
mod restarts;
mod secrets;
mod tutorial;
mod tls;
mod world;
