//! What roles have handed over about a target.

use aegir_api::{DocumentDetail, DocumentList};
use aegir_protocol::name::{Kind, TargetId};
use jiff::{SignedDuration, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

fn detail(row: &SqliteRow, now: Timestamp) -> Result<DocumentDetail, StoreError> {
    let text = |column: &'static str| row.try_get::<&str, _>(column);
    let produced_at = rows::time(row.try_get("produced_at")?)?;
    let fresh: Option<i64> = row.try_get("fresh_seconds")?;
    // A time beyond the calendar's end is no end.
    let fresh_until =
        fresh.and_then(|seconds| produced_at.checked_add(SignedDuration::from_secs(seconds)).ok());
    Ok(DocumentDetail {
        name: rows::parse("name", text("name")?)?,
        value: rows::parse("value", text("value")?)?,
        sha256: text("sha256")?.to_owned(),
        operation: rows::id(text("operation")?)?,
        operation_name: rows::parse("operation_name", text("operation_name")?)?,
        attempt: rows::attempt(row.try_get("attempt")?)?,
        produced_at,
        fresh_until,
        stale: fresh_until.is_some_and(|until| until <= now),
    })
}

impl Store {
    /// The documents of a target, by name.
    pub(crate) async fn documents(&self, kind: &Kind, id: &TargetId) -> Result<DocumentList, StoreError> {
        let rows = sqlx::query(
            "SELECT name, value, sha256, operation, operation_name, attempt, produced_at, \
             fresh_seconds FROM documents \
             WHERE target_kind = ?1 AND target_id = ?2 ORDER BY name",
        )
        .bind(kind.as_str())
        .bind(id.as_str())
        .fetch_all(&self.readers)
        .await?;
        let now = Timestamp::now();
        Ok(DocumentList { documents: rows.iter().map(|row| detail(row, now)).collect::<Result<_, _>>()? })
    }
}
