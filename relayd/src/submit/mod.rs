//! Taking requests: checked against the backend's catalog, sealed, compared with what came before, stored.

mod accept;
mod idempotency;
pub mod requests;

pub use accept::accept;
pub use idempotency::{MacKey, check_key, key_of_message};
