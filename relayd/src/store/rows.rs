//! Between table rows and the types of the protocol.

use std::time::Duration;

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::operation::{LockMode, Operation};
use aegir_protocol::state::{Reason, State};
use jiff::Timestamp;

use super::error::StoreError;

/// A column that this version has written, read back.
pub(super) fn read<T>(column: &str, value: Option<T>, shown: impl std::fmt::Debug) -> Result<T, StoreError> {
    value.ok_or_else(|| StoreError::Unreadable(format!("{column} is {shown:?}")))
}

pub(super) fn parse<T: std::str::FromStr>(column: &str, text: &str) -> Result<T, StoreError> {
    read(column, text.parse().ok(), text)
}

pub(super) fn state(text: &str) -> Result<State, StoreError> {
    read("state", State::from_word(text), text)
}

pub(super) fn attempt(number: i64) -> Result<Attempt, StoreError> {
    read("attempt", u32::try_from(number).ok().and_then(Attempt::new), number)
}

pub(super) fn id(text: &str) -> Result<OperationId, StoreError> {
    parse("id", text)
}

pub(super) fn unsigned(column: &str, number: i64) -> Result<u64, StoreError> {
    read(column, u64::try_from(number).ok(), number)
}

pub(super) fn seconds(column: &str, number: Option<i64>) -> Result<Option<Duration>, StoreError> {
    number.map(|number| unsigned(column, number).map(Duration::from_secs)).transpose()
}

pub(super) fn time(microseconds: i64) -> Result<Timestamp, StoreError> {
    read("time", Timestamp::from_microsecond(microseconds).ok(), microseconds)
}

pub(super) fn reason(code: Option<String>, message: Option<String>) -> Option<Reason> {
    Some(Reason { code: code?, message: message.unwrap_or_default() })
}

/// A length or offset as SQLite keeps it. Nothing here comes near the limit of eight exabytes.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An Operation as it was accepted.
pub(super) fn document(text: &str) -> Result<Operation, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable(format!("the document of an Operation: {error}")))
}

pub(super) fn mode(mode: LockMode) -> &'static str {
    match mode {
        LockMode::Shared => "shared",
        LockMode::Exclusive => "exclusive",
    }
}

pub(super) fn lock_mode(text: &str) -> Result<LockMode, StoreError> {
    match text {
        "shared" => Ok(LockMode::Shared),
        "exclusive" => Ok(LockMode::Exclusive),
        other => Err(StoreError::Unreadable(format!("mode is {other:?}"))),
    }
}
