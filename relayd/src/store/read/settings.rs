//! Settings, catalogs, sessions.

use std::sync::Arc;

use aegir_catalog::Catalog;
use jiff::Timestamp;

use crate::store::error::StoreError;
use crate::store::handle::Store;

impl Store {
    /// What is kept under a name.
    pub(crate) async fn setting(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT value FROM settings WHERE name = ?1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?)
    }

    /// The catalog of every backend that has sent one.
    pub(crate) async fn catalogs(&self) -> Result<Vec<Arc<Catalog>>, StoreError> {
        let documents: Vec<String> = sqlx::query_scalar("SELECT document FROM catalogs ORDER BY backend")
            .fetch_all(&self.readers)
            .await?;
        // A catalog of an older version that can't be read is as good as none: the backend sends it anew.
        Ok(documents
            .iter()
            .filter_map(|document| {
                serde_json::from_str(document)
                    .inspect_err(|error| tracing::warn!(%error, "a stored catalog can't be read"))
                    .ok()
            })
            .map(Arc::new)
            .collect())
    }

    /// Whether a session with this hash is open.
    pub(crate) async fn session_is_open(&self, hash: &[u8]) -> Result<bool, StoreError> {
        let found: Option<i64> =
            sqlx::query_scalar("SELECT 1 FROM sessions WHERE hash = ?1 AND expires_at > ?2")
                .bind(hash)
                .bind(Timestamp::now().as_microsecond())
                .fetch_optional(&self.readers)
                .await?;
        Ok(found.is_some())
    }
}
