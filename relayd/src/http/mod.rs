//! relayd's HTTP: the API for frontends, and a plain page for people.
//!
//! It decides nothing. A handler reads a request, asks relayd, and says what it answered; what is not allowed
//! becomes an RFC 9457 problem in one place ([`answer`]). The API's paths stand in
//! `docs/reference/http-api.md`.

mod answer;
mod api;
mod assets;
mod caller;
mod connection;
mod cookie;
mod extract;
mod failed_login;
mod health;
mod list_query;
mod listen;
mod live;
mod pages;
mod query;
mod router;
mod state;

#[cfg(test)]
mod tests;

pub use connection::ConnectionLimits;
pub use listen::{ListenError, Listeners, serve};
