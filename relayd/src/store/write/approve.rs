//! Whether a plan that was approved still is what would be done.

use aegir_protocol::id::OperationId;
use aegir_protocol::operation::Approved;
use sqlx::Row as _;

use crate::store::accepted::{ANSWER, Submitted, answer};
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::rows;

/// The dry run that made a plan, and which attempt at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanOf {
    pub(crate) dry_run: i64,
    pub(crate) attempt: u32,
}

impl Batch {
    pub(super) async fn plan_of(&mut self, approved: &Approved) -> Result<Option<PlanOf>, StoreError> {
        let dry_run = sqlx::query_scalar("SELECT number FROM operations WHERE id = ?1")
            .bind(approved.operation.to_string())
            .fetch_optional(&mut self.connection)
            .await?;
        Ok(dry_run.map(|dry_run| PlanOf { dry_run, attempt: approved.attempt.get() }))
    }

    /// The plan that an Operation carries out, if it is one that was approved.
    pub(super) async fn approves(&mut self, operation: i64) -> Result<Option<PlanOf>, StoreError> {
        let row = sqlx::query(
            "SELECT approves, approves_attempt FROM operations WHERE number = ?1 AND approves IS NOT NULL",
        )
        .bind(operation)
        .fetch_optional(&mut self.connection)
        .await?;
        row.map(|row| {
            Ok(PlanOf { dry_run: row.try_get("approves")?, attempt: row.try_get("approves_attempt")? })
        })
        .transpose()
    }

    /// What became of an earlier approval of the same plan.
    pub(super) async fn approved_before(&mut self, plan: PlanOf) -> Result<Option<Submitted>, StoreError> {
        let query = format!("{ANSWER} WHERE approves = ?1 AND approves_attempt = ?2");
        let row = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(plan.dry_run)
            .bind(plan.attempt)
            .fetch_optional(&mut self.connection)
            .await?;
        row.as_ref().map(answer).transpose()
    }

    /// An Operation other than `but` that may have changed the target since the plan was made, or may still do so
    /// before what is asked for now. Attempts are numbered as they are granted, so that no clock is asked which of two
    /// came first.
    pub(super) async fn overtaken_by(
        &mut self,
        plan: PlanOf,
        but: Option<i64>,
    ) -> Result<Option<OperationId>, StoreError> {
        let found: Option<String> = sqlx::query_scalar(
            "SELECT o.id FROM operations plan \
             JOIN attempts made ON made.operation = plan.number AND made.attempt = ?2 \
             JOIN operations o ON o.number IN (\
                 SELECT operation FROM attempts WHERE granted > coalesce(made.granted, 0) UNION \
                 SELECT number FROM operations WHERE state IN ('waiting', 'queued', 'claimed', 'running') \
                     AND ?3 IS NULL) \
             WHERE plan.number = ?1 AND o.target_kind = plan.target_kind AND o.target_id = plan.target_id \
                 AND NOT o.dry_run AND o.number IS NOT ?3 \
             ORDER BY o.number DESC LIMIT 1",
        )
        .bind(plan.dry_run)
        .bind(plan.attempt)
        .bind(but)
        .fetch_optional(&mut self.connection)
        .await?;
        found.map(|id| rows::id(&id)).transpose()
    }
}
