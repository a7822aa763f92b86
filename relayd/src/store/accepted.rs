//! What became of a request for an Operation, now or before.

use aegir_protocol::id::OperationId;
use aegir_protocol::request::Accepted;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;
use super::rows;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is stored, now or before.
    Accepted(Accepted),
    /// The key stands for another request.
    Conflict,
    /// The plan that it runs is of before this other Operation, which is of the same target.
    Overtaken(OperationId),
}

/// What an answer says of an Operation that is there already.
pub(super) const ANSWER: &str = "SELECT id, attempt, state, published FROM operations";

/// The Operation that an idempotency key stands for.
pub(super) const EARLIER: &str =
    "SELECT id, attempt, state, published, request_mac FROM operations WHERE idempotency_key = ?1";

/// What a request gets whose idempotency key is known.
pub(super) fn repeated(row: &SqliteRow, request_mac: &[u8]) -> Result<Submitted, StoreError> {
    // Both sides were made with a key that nobody else knows, so how long this takes tells nothing.
    if row.try_get::<&[u8], _>("request_mac")? != request_mac {
        return Ok(Submitted::Conflict);
    }
    answer(row)
}

/// The answer that says where an Operation stands which is there already.
pub(super) fn answer(row: &SqliteRow) -> Result<Submitted, StoreError> {
    Ok(Submitted::Accepted(Accepted {
        id: rows::id(row.try_get("id")?)?,
        attempt: rows::attempt(row.try_get("attempt")?)?,
        state: rows::state(row.try_get("state")?)?,
        published: row.try_get("published")?,
        repeated: true,
    }))
}
