//! What can go wrong with the store.

use std::sync::Arc;

use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;

/// Why something could not be stored or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full, read-only, or fails. What was asked for may work later.
    #[error("the store can't be used now (is the disk full, or read-only?): {0}")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// SQLite refuses the statement itself: a fault of this program.
    #[error("the store refused a statement: {0}")]
    Refused(#[source] Arc<sqlx::Error>),
    /// A row does not hold what this version writes.
    #[error("the store holds what this version of relayd can't read: {0}")]
    Unreadable(String),
    /// relayd is going down.
    #[error("the store is closed, because relayd stops")]
    Closed,
}

/// SQLite's primary result codes that say that the place fails, not the statement
/// (<https://www.sqlite.org/rescode.html>): permission, busy, locked, out of memory, read-only, I/O, corrupt, full,
/// can't open, not a database.
const OF_THE_PLACE: [i32; 10] = [3, 5, 6, 7, 8, 10, 11, 13, 14, 26];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let of_the_place = match &error {
            sqlx::Error::Database(database) => database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .is_some_and(|code| OF_THE_PLACE.contains(&(code & 0xff))),
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        };
        let error = Arc::new(error);
        if of_the_place { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

impl StoreError {
    /// Whether the same may work later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Closed => true,
            Self::Refused(_) | Self::Unreadable(_) => false,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::Unavailable(_) | StoreError::Closed => Code::StoreUnavailable,
            StoreError::Refused(_) | StoreError::Unreadable(_) => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}
