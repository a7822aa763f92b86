//! Keeping what backends can do.

use std::sync::Arc;

use aegir_catalog::Catalog;

use crate::store::batch::Batch;
use crate::store::error::StoreError;

impl Batch {
    /// Stores a catalog as it came, unless it is the one that is stored: after an upgrade relayd may understand more of
    /// it, and nobody sends it anew.
    pub(crate) async fn store_catalog(
        &mut self,
        catalog: &Catalog,
        document: &str,
    ) -> Result<(), StoreError> {
        let known: Option<(String, String)> =
            sqlx::query_as("SELECT digest, recipient FROM catalogs WHERE backend = ?1")
                .bind(catalog.backend.as_str())
                .fetch_optional(&mut self.connection)
                .await?;
        if known.is_some_and(|(digest, recipient)| digest == catalog.digest && recipient == catalog.recipient)
        {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO catalogs (backend, digest, recipient, document, received_at) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (backend) DO UPDATE SET digest = excluded.digest, \
             recipient = excluded.recipient, document = excluded.document, received_at = excluded.received_at",
        )
        .bind(catalog.backend.as_str())
        .bind(&catalog.digest)
        .bind(&catalog.recipient)
        .bind(document)
        .bind(self.now)
        .execute(&mut self.connection)
        .await?;
        self.effects.catalogs.push(Arc::new(catalog.clone()));
        Ok(())
    }
}
