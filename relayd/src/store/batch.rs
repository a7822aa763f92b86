//! One transaction, and what it is going to lead to.

use std::collections::HashMap;

use aegir_protocol::id::AttemptId;
use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;

use super::effects::CommitEffects;
use super::tails::{Tail, Tails};

/// A transaction in progress. Commands write through it and add to its effects.
pub struct Batch {
    pub(super) connection: SqliteConnection,
    pub(super) effects: CommitEffects,
    /// When, in microseconds: the same for all that is committed together.
    pub(super) now: i64,
    /// Transcript bytes added.
    pub(super) transcript_bytes: u64,
    tails: Tails,
    touched: HashMap<AttemptId, Tail>,
}

impl Batch {
    pub(super) fn new(connection: SqliteConnection, tails: Tails) -> Self {
        Self {
            connection,
            effects: CommitEffects::default(),
            now: Timestamp::now().as_microsecond(),
            transcript_bytes: 0,
            tails,
            touched: HashMap::new(),
        }
    }

    /// The end of a transcript, if it is remembered.
    pub(super) fn tail(&self, attempt: &AttemptId) -> Option<Tail> {
        self.touched.get(attempt).or_else(|| self.tails.get(attempt)).cloned()
    }

    /// Remembers the end of a transcript, if the transaction succeeds.
    pub(super) fn set_tail(&mut self, attempt: AttemptId, tail: Tail) {
        self.touched.insert(attempt, tail);
    }

    pub(super) fn into_parts(
        self,
    ) -> (SqliteConnection, Tails, HashMap<AttemptId, Tail>, CommitEffects, u64) {
        (self.connection, self.tails, self.touched, self.effects, self.transcript_bytes)
    }
}
