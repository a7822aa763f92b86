//! What a message looks like in the dead-letter queue, and how it goes back to where it came from.
//!
//! Body and properties stay as they were, except for those that the broker acts on: a message must neither
//! expire there, nor be refused because somebody else's name is its sender, nor be routed on by a header. The
//! original headers are kept as a table of their own. What the broker moves there by itself, after
//! [`DELIVERY_LIMIT`](crate::topology::DELIVERY_LIMIT) deliveries, has an `x-death` header instead.

mod headers;
mod letter;
mod read;
mod replay;

pub use headers::{
    AT, BODY, CODE, EXCHANGE, HEADERS, HEADERS_DROPPED, LENGTH, QUEUE, REASON, REPLAYS, ROUTING_KEY,
};
pub use letter::{Body, Kept};
pub(crate) use letter::{Origin, letter};
pub use read::{Cause, Letter};
pub use replay::{Original, ReplayError};
