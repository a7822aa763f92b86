//! Server-sent events.
//!
//! The store is the truth, and a change notice only says "look again": a stream reads what is new from the
//! store when its client takes it, so a slow client costs one piece of memory and holds nobody up.

mod event;
mod list;
mod operation;

pub(super) use list::list;
pub(super) use operation::operation;
