//! What is asked of Operations, by HTTP and over AMQP alike: taking requests, showing what became of them, calling them
//! off, trying them again.

mod accept;
mod actions;
mod approve;
mod idempotency;
mod read;
mod service;
mod submit;

pub use accept::{accept, problem};
pub use actions::row_text;
pub use approve::repeat_request;
pub use idempotency::{MacKey, check_key, key_of_message};
pub use service::{Operations, no_such_operation};
