//! Keeping what roles hand over about a target.

use std::collections::BTreeMap;

use aegir_protocol::id::AttemptId;
use aegir_protocol::name::DocumentName;
use aegir_protocol::record::Document;
use jiff::Timestamp;

use crate::store::StoreError;
use crate::store::batch::Batch;
use crate::store::rows;

/// A document, and where in its transcript it stands.
pub(super) struct Handed {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) document: Document,
}

/// How many documents a target may have: a role that makes names up as it goes must not fill the store.
const MOST: u32 = 100;

impl Batch {
    /// Keeps these documents of an attempt for the Operation's target. A later attempt's stay, later by the grant and not by
    /// when its transcript comes. What a dry run says is not so, and is not kept.
    pub(super) async fn keep_documents(
        &mut self,
        attempt: AttemptId,
        documents: &BTreeMap<DocumentName, Handed>,
    ) -> Result<(), StoreError> {
        for (name, Handed { seq, at, document }) in documents {
            let kept = sqlx::query(
                "INSERT INTO documents (target_kind, target_id, name, granted, seq, operation, operation_name, \
                 attempt, produced_at, value, sha256) \
                 SELECT o.target_kind, o.target_id, ?3, coalesce(a.granted, 0), ?4, o.id, o.name, ?2, ?5, ?6, ?7 \
                 FROM operations o JOIN attempts a ON a.operation = o.number AND a.attempt = ?2 \
                 WHERE o.id = ?1 AND NOT o.dry_run AND (SELECT count(*) FROM documents d WHERE \
                 d.target_kind = o.target_kind AND d.target_id = o.target_id AND d.name <> ?3) < ?8 \
                 ON CONFLICT (target_kind, target_id, name) DO UPDATE SET granted = excluded.granted, \
                 seq = excluded.seq, operation = excluded.operation, operation_name = excluded.operation_name, \
                 attempt = excluded.attempt, produced_at = excluded.produced_at, value = excluded.value, \
                 sha256 = excluded.sha256 WHERE (excluded.granted, excluded.seq) >= (granted, seq)",
            )
            .bind(attempt.operation.to_string())
            .bind(attempt.attempt.get())
            .bind(name.as_str())
            .bind(rows::signed(*seq))
            .bind(at.as_microsecond())
            .bind(document.value.to_string())
            .bind(&document.sha256)
            .bind(MOST)
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
