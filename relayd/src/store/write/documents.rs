//! Keeping what roles hand over about a target.

use aegir_protocol::id::AttemptId;
use aegir_protocol::record::Document;
use jiff::Timestamp;

use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::rows;

/// A document, and where in its transcript it stands.
#[derive(Debug)]
pub(super) struct DocumentRecord {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) document: Document,
}

/// How many documents a target may have: a role that makes names up as it goes must not fill the store.
const MOST: u32 = 100;

impl Batch {
    /// Keeps these documents of an attempt for what they are about: the Operation's target, unless they say something
    /// else. A later attempt's stay, later by the grant and not by when its transcript comes. What a dry run says is not
    /// so, and is not kept.
    pub(super) async fn keep_documents(
        &mut self,
        attempt: AttemptId,
        documents: impl Iterator<Item = &DocumentRecord>,
    ) -> Result<(), StoreError> {
        for DocumentRecord { seq, at, document } in documents {
            let (name, entity) = (&document.name, document.entity.as_ref());
            let kept = sqlx::query(
                "INSERT INTO documents (target_kind, target_id, name, granted, seq, operation, operation_name, \
                 attempt, produced_at, value, sha256, fresh_seconds) \
                 SELECT coalesce(?9, o.target_kind), coalesce(?10, o.target_id), ?3, coalesce(a.granted, 0), ?4, \
                 o.id, o.name, ?2, ?5, ?6, ?7, ?11 \
                 FROM operations o JOIN attempts a ON a.operation = o.number AND a.attempt = ?2 \
                 WHERE o.id = ?1 AND NOT o.dry_run AND (SELECT count(*) FROM documents d WHERE \
                 d.target_kind = coalesce(?9, o.target_kind) AND d.target_id = coalesce(?10, o.target_id) \
                 AND d.name <> ?3) < ?8 \
                 ON CONFLICT (target_kind, target_id, name) DO UPDATE SET granted = excluded.granted, \
                 seq = excluded.seq, operation = excluded.operation, operation_name = excluded.operation_name, \
                 attempt = excluded.attempt, produced_at = excluded.produced_at, value = excluded.value, \
                 sha256 = excluded.sha256, fresh_seconds = excluded.fresh_seconds WHERE (excluded.granted, excluded.seq) >= (granted, seq)",
            )
            .bind(attempt.operation.to_string())
            .bind(attempt.attempt.get())
            .bind(name.as_str())
            .bind(rows::signed(*seq))
            .bind(at.as_microsecond())
            .bind(document.value.to_string())
            .bind(&document.sha256)
            .bind(MOST)
            .bind(entity.map(|entity| entity.kind.as_str()))
            .bind(entity.map(|entity| entity.id.as_str()))
            .bind(document.fresh_seconds.map(rows::signed))
            .execute(&mut self.connection)
            .await?;
            if kept.rows_affected() == 0 {
                tracing::info!(
                    operation_id = %attempt.operation, document = %name,
                    "a document is not kept: of a dry run, not the latest, or one too many for its target ({MOST})"
                );
            }
        }
        Ok(())
    }
}
