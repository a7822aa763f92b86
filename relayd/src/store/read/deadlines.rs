//! What has a deadline, and which backends are paused.

use std::collections::BTreeMap;

use aegir_api::Pause;
use aegir_protocol::id::OperationId;
use aegir_protocol::name::BackendName;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

impl Store {
    /// Operations that have a deadline: a lease, or a time before which they do not begin.
    pub(crate) async fn with_deadlines(&self) -> Result<Vec<OperationId>, StoreError> {
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM operations WHERE lease_seconds IS NOT NULL AND state IN ('claimed', 'running') \
             UNION ALL SELECT id FROM operations WHERE backoff_seconds IS NOT NULL",
        )
        .fetch_all(&self.readers)
        .await?;
        ids.iter().map(|id| rows::id(id)).collect()
    }

    /// The backends on which nothing new may start.
    pub(crate) async fn pauses(&self) -> Result<BTreeMap<BackendName, Pause>, StoreError> {
        let rows =
            sqlx::query("SELECT backend, by, reason, since FROM pauses").fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok((rows::parse("backend", row.try_get("backend")?)?, pause(row)?))).collect()
    }
}

/// Whether nothing new may start on this backend, and who said so.
pub(super) async fn pause_of(
    connection: &mut SqliteConnection,
    backend: &BackendName,
) -> Result<Option<Pause>, StoreError> {
    let row = sqlx::query("SELECT by, reason, since FROM pauses WHERE backend = ?1")
        .bind(backend.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(pause).transpose()
}

fn pause(row: &SqliteRow) -> Result<Pause, StoreError> {
    Ok(Pause {
        by: row.try_get("by")?,
        reason: row.try_get("reason")?,
        since: rows::time(row.try_get("since")?)?,
    })
}
