//! Operations as the API shows them.

use std::collections::BTreeMap;

use aegir_api::{AttemptDetail, LedgerEntry, OperationDetail, OperationList, OperationSummary};
use aegir_protocol::id::OperationId;
use aegir_protocol::name::{Kind, NodeName, OperationName, TargetName};
use aegir_protocol::operation::{Operation, Target};
use aegir_protocol::state::{Outcome, State};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::deadlines::pause_of;
use super::plan::planned;
use crate::store::accepted::{EARLIER, Submitted, repeated};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::rows;

/// The most Operations on a page of the list.
pub(crate) const MAX_PAGE: u32 = 500;
/// How many there are on a page when nobody says.
const PAGE: u32 = 50;

/// Which Operations to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperationFilter {
    /// Only those in one of these states; all when empty.
    pub states: Vec<State>,
    /// Only those of this target.
    pub target: Option<TargetFilter>,
    /// Only those that do this.
    pub name: Option<OperationName>,
    /// How many at most; 50 when absent, 500 at most.
    pub limit: Option<u32>,
    /// Only those submitted before this one.
    pub before: Option<OperationId>,
    /// Only these; all when empty.
    pub ids: Vec<OperationId>,
}

/// Which targets' Operations to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFilter {
    /// Of this kind.
    pub kind: Kind,
    /// Of this name.
    pub name: Option<TargetName>,
}

const COLUMNS: &str = "SELECT number, id, name, target_kind, target_id, target_name, backend, state, \
                       reason_code, reason_message, attempt, dry_run, requested_by, requested_at, changed_at, \
                       revision, cancel_requested, node FROM operations";

/// An Operation in a list, and who holds it.
type Summary = (OperationSummary, Option<NodeName>);

fn summary(row: &SqliteRow) -> Result<Summary, StoreError> {
    let node: Option<String> = row.try_get("node")?;
    let text = |column: &'static str| row.try_get::<&str, _>(column);
    let summary = OperationSummary {
        id: rows::id(text("id")?)?,
        name: rows::parse("name", text("name")?)?,
        target: Target {
            kind: rows::parse("target_kind", text("target_kind")?)?,
            id: rows::parse("target_id", text("target_id")?)?,
            name: rows::parse("target_name", text("target_name")?)?,
        },
        backend: rows::parse("backend", text("backend")?)?,
        state: rows::state(text("state")?)?,
        silent: false,
        blocked: None,
        reason: rows::reason(row.try_get("reason_code")?, row.try_get("reason_message")?),
        attempt: rows::attempt(row.try_get("attempt")?)?,
        dry_run: row.try_get("dry_run")?,
        check: row.try_get("dry_run")?,
        requested_by: row.try_get("requested_by")?,
        requested_at: rows::time(row.try_get("requested_at")?)?,
        changed_at: rows::time(row.try_get("changed_at")?)?,
        revision: rows::unsigned("revision", row.try_get("revision")?)?,
        cancel_requested: row.try_get("cancel_requested")?,
    };
    Ok((summary, node.map(|node| rows::parse("node", &node)).transpose()?))
}

impl Store {
    /// A page of Operations, newest first. `heard` adds what heartbeats say of one that a node has.
    pub(crate) async fn operations(
        &self,
        filter: &OperationFilter,
        heard: impl Fn(&NodeName, &mut OperationSummary) + Send,
    ) -> Result<OperationList, StoreError> {
        let limit = filter.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
        let mut query = QueryBuilder::<Sqlite>::new(COLUMNS);
        query.push(" WHERE true");
        if !filter.states.is_empty() {
            query.push(" AND state IN (");
            let mut states = query.separated(", ");
            for state in &filter.states {
                states.push_bind(state.as_str());
            }
            query.push(")");
        }
        if let Some(target) = &filter.target {
            query.push(" AND target_kind = ").push_bind(target.kind.to_string());
            if let Some(name) = &target.name {
                query.push(" AND target_name = ").push_bind(name.to_string());
            }
        }
        if let Some(name) = &filter.name {
            query.push(" AND name = ").push_bind(name.to_string());
        }
        if !filter.ids.is_empty() {
            query.push(" AND id IN (");
            let mut ids = query.separated(", ");
            for id in &filter.ids {
                ids.push_bind(id.to_string());
            }
            query.push(")");
        }
        if let Some(before) = filter.before {
            query.push(" AND number < coalesce((SELECT number FROM operations WHERE id = ");
            query.push_bind(before.to_string()).push("), 0)");
        }
        // One more than is shown tells whether there is a next page.
        query.push(" ORDER BY number DESC LIMIT ").push_bind(i64::from(limit) + 1);
        let found = query.build().fetch_all(&self.readers).await?;
        let more = found.len() > limit as usize;
        let operations = found
            .iter()
            .take(limit as usize)
            .map(|row| summary(row).map(|found| with_heartbeats(found, &heard)))
            .collect::<Result<Vec<_>, _>>()?;
        let next = if more { operations.last().map(|last| last.id) } else { None };
        Ok(OperationList { operations, next })
    }

    /// Everything about an Operation but its transcript; `None` when there is none with this id. `heard` as above.
    pub(crate) async fn operation(
        &self,
        id: OperationId,
        heard: impl Fn(&NodeName, &mut OperationSummary) + Send,
    ) -> Result<Option<OperationDetail>, StoreError> {
        // One transaction, so that what is shown was true at one moment.
        let mut read = self.readers.begin().await?;
        let row = sqlx::query(
            "SELECT number, id, name, target_kind, target_id, target_name, backend, state, reason_code, \
             reason_message, attempt, dry_run, requested_by, requested_at, changed_at, revision, \
             cancel_requested, node, document, published FROM operations WHERE id = ?1",
        )
        .bind(id.to_string())
        .fetch_optional(&mut *read)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let number: i64 = row.try_get("number")?;
        let operation = rows::document(row.try_get("document")?)?;
        let attempts = sqlx::query(
            "SELECT attempt, node, outcome, reason_code, reason_message, digest, started_at, ended_at, bytes, records, \
             closed, mismatches FROM attempts WHERE operation = ?1 ORDER BY attempt",
        )
        .bind(number)
        .fetch_all(&mut *read)
        .await?;
        let ledger = sqlx::query(
            "SELECT revision, attempt, state, reason_code, reason_message, source, at FROM ledger \
             WHERE operation = ?1 ORDER BY revision",
        )
        .bind(number)
        .fetch_all(&mut *read)
        .await?;
        let waits_for = sqlx::query_scalar::<_, String>(WAITS_FOR).bind(number).fetch_all(&mut *read).await?;
        let summary = with_heartbeats(summary(&row)?, &heard);
        let plan = if summary.is_dry_run() { planned(&mut read, id).await? } else { None };
        let paused = match summary.state {
            State::Waiting | State::Queued => pause_of(&mut read, &summary.backend).await?,
            State::Claimed
            | State::Running
            | State::Succeeded
            | State::Failed
            | State::Canceled
            | State::Rejected
            | State::Lost => None,
        };
        Ok(Some(OperationDetail {
            summary,
            hosts: operation.hosts,
            variables: operation.variables,
            locks: operation.locks,
            priority: operation.priority,
            timeout_seconds: operation.timeout_seconds,
            waits_for: waits_for.iter().map(|id| rows::id(id)).collect::<Result<_, _>>()?,
            published: row.try_get("published")?,
            paused,
            plan: plan.map(|plan| plan.hash()),
            approves: operation.approved.map(|approved| approved.operation),
            attempts: attempts.iter().map(attempt_detail).collect::<Result<_, _>>()?,
            ledger: ledger.iter().map(ledger_entry).collect::<Result<_, _>>()?,
        }))
    }

    /// What an Operation was asked to do, as it was accepted.
    pub(crate) async fn input_of(&self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let text: Option<String> = sqlx::query_scalar("SELECT document FROM operations WHERE id = ?1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        text.map(|text| rows::document(&text)).transpose()
    }

    /// Where an Operation stands.
    pub(crate) async fn state_of(&self, id: OperationId) -> Result<Option<State>, StoreError> {
        let state: Option<String> = sqlx::query_scalar("SELECT state FROM operations WHERE id = ?1")
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await?;
        state.map(|state| rows::state(&state)).transpose()
    }

    /// What an idempotency key stands for, if it is known.
    pub(crate) async fn earlier(
        &self,
        key: &str,
        request_mac: &[u8],
    ) -> Result<Option<Submitted>, StoreError> {
        let row = sqlx::query(EARLIER).bind(key).fetch_optional(&self.readers).await?;
        row.map(|row| repeated(&row, request_mac)).transpose()
    }

    /// How many Operations are in each state.
    pub(crate) async fn count_by_state(&self) -> Result<BTreeMap<State, u64>, StoreError> {
        let counts: Vec<(String, i64)> =
            sqlx::query_as("SELECT state, count(*) FROM operations GROUP BY state")
                .fetch_all(&self.readers)
                .await?;
        counts
            .into_iter()
            .map(|(state, count)| Ok((rows::state(&state)?, rows::unsigned("count", count)?)))
            .collect()
    }
}

/// Whose locks keep a waiting Operation waiting: who holds one that conflicts, or waits for one before it.
const WAITS_FOR: &str = "SELECT DISTINCT o.id FROM locks mine \
    JOIN locks theirs ON theirs.kind = mine.kind AND theirs.id = mine.id \
        AND theirs.operation <> mine.operation \
        AND (theirs.mode = 'exclusive' OR mine.mode = 'exclusive') \
        AND (theirs.held = 1 OR (theirs.rank, theirs.operation) < (mine.rank, mine.operation)) \
    JOIN operations o ON o.number = theirs.operation \
    WHERE mine.operation = ?1 AND mine.held = 0 ORDER BY o.number LIMIT 100";

fn with_heartbeats(
    (mut summary, node): Summary,
    heard: impl Fn(&NodeName, &mut OperationSummary),
) -> OperationSummary {
    let with_a_node = match summary.state {
        State::Claimed | State::Running => true,
        State::Waiting
        | State::Queued
        | State::Succeeded
        | State::Failed
        | State::Canceled
        | State::Rejected
        | State::Lost => false,
    };
    if let Some(node) = node.filter(|_| with_a_node) {
        heard(&node, &mut summary);
    }
    summary
}

fn attempt_detail(row: &SqliteRow) -> Result<AttemptDetail, StoreError> {
    let node: Option<String> = row.try_get("node")?;
    let outcome: Option<String> = row.try_get("outcome")?;
    let time = |column: &'static str| -> Result<_, StoreError> {
        row.try_get::<Option<i64>, _>(column)?.map(rows::time).transpose()
    };
    let mismatches: i64 = row.try_get("mismatches")?;
    Ok(AttemptDetail {
        attempt: rows::attempt(row.try_get("attempt")?)?,
        node: node.map(|node| rows::parse("node", &node)).transpose()?,
        outcome: outcome
            .map(|outcome| rows::read("outcome", Outcome::from_word(&outcome), &outcome))
            .transpose()?,
        reason: rows::reason(row.try_get("reason_code")?, row.try_get("reason_message")?),
        digest: row.try_get("digest")?,
        started_at: time("started_at")?,
        ended_at: time("ended_at")?,
        transcript_bytes: rows::unsigned("bytes", row.try_get("bytes")?)?,
        transcript_records: rows::unsigned("records", row.try_get("records")?)?,
        // After a second mismatch what came is kept, and never called complete.
        transcript_complete: row.try_get("closed")? && mismatches < 2,
    })
}

fn ledger_entry(row: &SqliteRow) -> Result<LedgerEntry, StoreError> {
    Ok(LedgerEntry {
        revision: rows::unsigned("revision", row.try_get("revision")?)?,
        attempt: rows::attempt(row.try_get("attempt")?)?,
        state: rows::state(row.try_get("state")?)?,
        reason: rows::reason(row.try_get("reason_code")?, row.try_get("reason_message")?),
        source: row.try_get("source")?,
        at: rows::time(row.try_get("at")?)?,
    })
}
