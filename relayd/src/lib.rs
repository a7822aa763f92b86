//! relayd: keeps the Operations of a frontend, decides, and hands on what happens.

pub mod ingest;
pub mod ledger;
pub mod locks;
pub mod secrets;
pub mod sign_in;
pub mod store;
pub mod submit;
pub mod watchers;
