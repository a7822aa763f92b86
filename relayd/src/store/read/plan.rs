//! What a dry run has planned, for somebody to approve.

use std::collections::BTreeMap;

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::name::PlanHash;
use aegir_protocol::operation::{Approved, Operation};
use aegir_protocol::state::State;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::{Row as _, SqliteConnection};

use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

/// The plan that the last attempt at a dry run has made.
#[derive(Clone, Debug, PartialEq)]
pub struct DryRunPlan {
    /// What was asked for.
    pub operation: Operation,
    attempt: Attempt,
    digest: String,
    tasks: BTreeMap<u32, PlanHash>,
}

impl DryRunPlan {
    /// Over all that is carried out when it is approved: what was asked for, the role's files, and what plug-ins have
    /// planned.
    #[must_use]
    pub fn hash(&self) -> PlanHash {
        let Operation { name, target, backend, hosts, variables, locks, timeout_seconds, .. } =
            &self.operation;
        let all = json!([
            [name, target, backend, hosts, variables, locks, timeout_seconds],
            self.digest,
            self.tasks,
        ]);
        let hash = Sha256::digest(all.to_string());
        hex::encode(hash).parse().expect("hex is a plan's hash")
    }

    /// What an Operation carries that runs this plan.
    #[must_use]
    pub fn approved(&self) -> Approved {
        let (digest, tasks) = (self.digest.clone(), self.tasks.clone());
        Approved { operation: self.operation.id, attempt: self.attempt, digest, tasks }
    }
}

impl Store {
    /// The plan of a dry run that has succeeded; `None` when there is no Operation of this id, or it has none.
    pub(crate) async fn planned(&self, id: OperationId) -> Result<Option<DryRunPlan>, StoreError> {
        planned(&mut *self.readers.acquire().await?, id).await
    }
}

pub(super) async fn planned(
    connection: &mut SqliteConnection,
    id: OperationId,
) -> Result<Option<DryRunPlan>, StoreError> {
    let row = sqlx::query(
        "SELECT o.number, o.document, o.attempt, a.digest FROM operations o \
         JOIN attempts a ON a.operation = o.number AND a.attempt = o.attempt \
         WHERE o.id = ?1 AND o.dry_run AND o.state = ?2 AND a.digest IS NOT NULL",
    )
    .bind(id.to_string())
    .bind(State::Succeeded.as_str())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (number, attempt): (i64, i64) = (row.try_get("number")?, row.try_get("attempt")?);
    let hashes = sqlx::query("SELECT task, hash FROM plans WHERE operation = ?1 AND attempt = ?2")
        .bind(number)
        .bind(attempt)
        .fetch_all(&mut *connection)
        .await?;
    let hash = |row: &sqlx::sqlite::SqliteRow| {
        Ok((row.try_get("task")?, rows::parse("hash", row.try_get("hash")?)?))
    };
    Ok(Some(DryRunPlan {
        operation: rows::document(row.try_get("document")?)?,
        attempt: rows::attempt(attempt)?,
        digest: row.try_get("digest")?,
        tasks: hashes.iter().map(hash).collect::<Result<_, StoreError>>()?,
    }))
}
