//! Stores which Tasks have finished, with their outputs, so that a retry skips them.

use std::collections::{BTreeMap, BTreeSet};

use aegir_protocol::id::{Attempt, AttemptId};
use aegir_protocol::name::{DocumentName, PlanHash};
use aegir_protocol::operation::Entity;
use aegir_protocol::record::{Header, Record, Started};
use aegir_protocol::state::Outcome;

use super::documents::DocumentRecord;
use crate::store::batch::Batch;
use crate::store::error::StoreError;

/// What a piece of a transcript says beside its output.
#[derive(Debug, Default)]
pub(super) struct ChunkFacts {
    /// Whether it is the beginning.
    pub(super) begun: bool,
    pub(super) started: Option<Started>,
    /// The latest of each document, by the Task that handed it over.
    pub(super) documents: BTreeMap<(u32, DocumentName, Option<Entity>), DocumentRecord>,
    /// The Tasks that have succeeded.
    pub(super) succeeded: BTreeSet<u32>,
    /// What plug-ins said that their plans depend on.
    pub(super) planned: BTreeMap<u32, PlanHash>,
}

impl ChunkFacts {
    /// Takes in a record. One that can't be read is in the transcript, for people.
    pub(super) fn read_record(&mut self, header: &Header<'_>) {
        if !matches!(header.kind, "started" | "document" | "plan" | "task_finished") {
            return;
        }
        self.begun |= header.kind == "started";
        match header.record() {
            Ok(Some(Record::Started(started))) => self.started = Some(started),
            Ok(Some(Record::Document(document))) => {
                let key = (document.task, document.name.clone(), document.entity.clone());
                self.documents.insert(key, DocumentRecord { seq: header.seq, at: header.at, document });
            }
            Ok(Some(Record::Plan(plan))) => drop(self.planned.insert(plan.task, plan.hash)),
            Ok(Some(Record::TaskFinished(finished))) if finished.outcome == Outcome::Succeeded => {
                self.succeeded.insert(finished.task);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

impl Batch {
    /// Keeps it for the next attempt, or for who approves a plan. What comes of an attempt that has been followed by
    /// another is of no use to either; nothing that a dry run did is something to go on from.
    pub(super) async fn keep_outputs(
        &mut self,
        operation: i64,
        attempt: AttemptId,
        facts: &ChunkFacts,
    ) -> Result<(), StoreError> {
        let ChunkFacts { started, documents, succeeded, planned, .. } = facts;
        if started.is_none() && documents.is_empty() && succeeded.is_empty() && planned.is_empty() {
            return Ok(());
        }
        let dry_run: Option<bool> =
            sqlx::query_scalar("SELECT dry_run FROM operations WHERE number = ?1 AND attempt = ?2")
                .bind(operation)
                .bind(attempt.attempt.get())
                .fetch_optional(&mut self.connection)
                .await?;
        match dry_run {
            None => return Ok(()),
            Some(true) => return self.keep_plan(operation, attempt.attempt, facts).await,
            Some(false) => {}
        }
        if let Some(started) = started {
            self.keep_what_it_takes_over(operation, attempt.attempt, started).await?;
        }
        // Of one name for several entities the last counts, as in the runner.
        let mut in_order: Vec<_> = documents.values().collect();
        in_order.sort_by_key(|documents| documents.seq);
        for DocumentRecord { document, .. } in in_order {
            let (task, name) = (document.task, &document.name);
            sqlx::query(
                "INSERT INTO outputs (operation, task, name, value) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (operation, task, name) DO UPDATE SET value = excluded.value",
            )
            .bind(operation)
            .bind(task)
            .bind(name.as_str())
            .bind(document.value.to_string())
            .execute(&mut self.connection)
            .await?;
        }
        for task in succeeded {
            sqlx::query(
                "INSERT INTO done (operation, task, attempt, digest) \
                 SELECT operation, ?3, attempt, digest FROM attempts \
                 WHERE operation = ?1 AND attempt = ?2 AND digest IS NOT NULL \
                 ON CONFLICT (operation, task) DO UPDATE SET attempt = excluded.attempt, digest = excluded.digest",
            )
            .bind(operation)
            .bind(attempt.attempt.get())
            .bind(task)
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }

    async fn keep_plan(
        &mut self,
        operation: i64,
        attempt: Attempt,
        facts: &ChunkFacts,
    ) -> Result<(), StoreError> {
        if let Some(started) = &facts.started {
            self.keep_digest(operation, attempt, started).await?;
        }
        for (task, hash) in &facts.planned {
            sqlx::query(
                "INSERT INTO plans (operation, attempt, task, hash) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (operation, attempt, task) DO UPDATE SET hash = excluded.hash",
            )
            .bind(operation)
            .bind(attempt.get())
            .bind(task)
            .bind(hash.as_str())
            .execute(&mut self.connection)
            .await?;
        }
        Ok(())
    }

    async fn keep_digest(
        &mut self,
        operation: i64,
        attempt: Attempt,
        started: &Started,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempts SET digest = ?3 WHERE operation = ?1 AND attempt = ?2")
            .bind(operation)
            .bind(attempt.get())
            .bind(&started.digest)
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Lets go of everything but what the attempt says that it does not do again.
    async fn keep_what_it_takes_over(
        &mut self,
        operation: i64,
        attempt: Attempt,
        started: &Started,
    ) -> Result<(), StoreError> {
        self.keep_digest(operation, attempt, started).await?;
        let numbered = (1_u32..).zip(&started.tasks);
        let taken: Vec<u32> =
            numbered.filter(|(_, task)| task.done_in.is_some()).map(|(number, _)| number).collect();
        self.forget_done(operation, &taken).await
    }

    /// Lets the next attempt do everything again but these Tasks.
    pub(crate) async fn forget_done(&mut self, operation: i64, but: &[u32]) -> Result<(), StoreError> {
        let but = serde_json::Value::from(but).to_string();
        for table in ["done", "outputs"] {
            let query = format!(
                "DELETE FROM {table} WHERE operation = ?1 AND task NOT IN (SELECT value FROM json_each(?2))"
            );
            sqlx::query(sqlx::AssertSqlSafe(query))
                .bind(operation)
                .bind(&but)
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }
}
