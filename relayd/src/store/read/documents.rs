//! What roles have handed over about a target.

use aegir_protocol::api::{DocumentDetail, DocumentList};
use aegir_protocol::name::{Kind, TargetId};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::store::{Store, StoreError, rows};

fn detail(row: &SqliteRow) -> Result<DocumentDetail, StoreError> {
    let text = |column: &'static str| row.try_get::<&str, _>(column);
    Ok(DocumentDetail {
        name: rows::parse("name", text("name")?)?,
        value: rows::parse("value", text("value")?)?,
        sha256: text("sha256")?.to_owned(),
        operation: rows::id(text("operation")?)?,
        operation_name: rows::parse("operation_name", text("operation_name")?)?,
        attempt: rows::attempt(row.try_get("attempt")?)?,
        produced_at: rows::time(row.try_get("produced_at")?)?,
    })
}

impl Store {
    /// The documents of a target, by name.
    pub(crate) async fn documents(&self, kind: &Kind, id: &TargetId) -> Result<DocumentList, StoreError> {
        let rows = sqlx::query(
            "SELECT name, value, sha256, operation, operation_name, attempt, produced_at FROM documents \
             WHERE target_kind = ?1 AND target_id = ?2 ORDER BY name",
        )
        .bind(kind.as_str())
        .bind(id.as_str())
        .fetch_all(&self.readers)
        .await?;
        Ok(DocumentList { documents: rows.iter().map(detail).collect::<Result<_, _>>()? })
    }
}
