//! The rules of locks: who may take one now, and who is next when one is released.
//!
//! An Operation takes all its locks or none. First asked, first served: a waiter is held back by a lock that
//! is held and conflicts with one of its own, and by a conflicting waiter that ranks before it. So the first
//! in rank waits for holders only, and holders end; nobody starves within a priority.
//!
//! The functions here decide; the store feeds them from its table inside the transaction that acts on it.

use std::cmp::Reverse;

use aegir_protocol::operation::LockMode;

#[cfg(test)]
mod model;

/// An Operation's place in every line: a higher priority first, then who asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank {
    priority: Reverse<u8>,
    number: i64,
}

impl Rank {
    /// The rank of the Operation with this number (counted up by submission) and priority.
    #[must_use]
    pub fn new(priority: u8, number: i64) -> Self {
        Self { priority: Reverse(priority), number }
    }
}

/// What others have and want of one thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Whether somebody shares it.
    pub held_shared: bool,
    /// Whether somebody has it alone.
    pub held_exclusive: bool,
    /// The first who waits to share it.
    pub waiting_shared: Option<Rank>,
    /// The first who waits to have it alone.
    pub waiting_exclusive: Option<Rank>,
}

/// Whether an Operation may take its locks now: each with its mode and what others have and want of that
/// thing, the Operation itself left out.
#[must_use]
pub fn grantable<'a>(rank: Rank, wanted: impl IntoIterator<Item = &'a (LockMode, Others)>) -> bool {
    let earlier = |other: Option<Rank>| other.is_some_and(|other| other < rank);
    wanted.into_iter().all(|(mode, others)| {
        let exclusive_is_in_the_way = others.held_exclusive || earlier(others.waiting_exclusive);
        let shared_is_in_the_way = others.held_shared || earlier(others.waiting_shared);
        match mode {
            LockMode::Shared => !exclusive_is_in_the_way,
            LockMode::Exclusive => !exclusive_is_in_the_way && !shared_is_in_the_way,
        }
    })
}

/// Of a thing's waiters in order of rank, those that may go on when somebody lets go of it, having held it (or
/// waited for it) in that mode.
///
/// Who shares is held back only by who does not, so letting go of a share concerns the first waiter alone, and
/// only if it wants the thing for itself. Otherwise it is the first waiter, and if that shares, all that share
/// up to the first one that does not. Everybody behind waits for one of these.
pub fn candidates<W>(
    released: LockMode,
    waiters: impl IntoIterator<Item = (LockMode, W)>,
) -> impl Iterator<Item = W> {
    let mut first = true;
    let mut closed = false;
    waiters.into_iter().map_while(move |(mode, waiter)| {
        let is_first = std::mem::take(&mut first);
        let open = !std::mem::replace(&mut closed, mode == LockMode::Exclusive);
        let concerned = match (released, mode) {
            (LockMode::Exclusive, LockMode::Shared) => open,
            (LockMode::Shared, LockMode::Shared) => false,
            (LockMode::Exclusive | LockMode::Shared, LockMode::Exclusive) => is_first,
        };
        concerned.then_some(waiter)
    })
}
