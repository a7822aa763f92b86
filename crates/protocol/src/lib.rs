//! What crosses the broker and stands in transcripts.
//!
//! This crate does no I/O and knows no runtime. Everything here is data, the rules for what is valid, and
//! the functions that need nothing but the data. Formats are at major version 0 until the first release is
//! tagged; unknown *fields* are ignored on the wire, unknown *types* and newer majors are refused with a
//! reason and never with a panic.
//!
//! | module | holds |
//! |---|---|
//! | [`id`], [`name`] | identities, and the names that may appear in paths, queues and command lines |
//! | [`operation`] | the Operation: what relayd publishes and dispatcherd carries out |
//! | [`request`] | what a frontend submits, by HTTP or AMQP, and the answer |
//! | [`message`] | the envelope, and what each queue can carry |
//! | [`record`] | the records of a transcript |
//! | [`state`], [`code`] | the states of an Operation, and every reason and error by its stable code |
//! | [`problem`] | why a request was refused |
//! | [`read`] | reading JSON: objects are objects, unknown fields are refused or ignored, what is wrong has a place |
//! | [`redact`] | taking secrets out of what is kept of messages that nobody could handle |
//! | [`limits`] | every size and count that is bounded, as a named constant |

pub mod code;
pub mod id;
pub mod limits;
pub mod message;
pub mod name;
pub mod operation;
pub mod problem;
pub mod read;
pub mod record;
pub mod redact;
pub mod request;
pub mod schema;
pub mod state;
