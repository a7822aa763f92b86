//! One Operation, live.

use aegir_api::{ApproveRequest, OperationDetail};
use aegir_protocol::operation::LockMode;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::frame::{Frame, beside, html, refused};
use crate::http::answer::ProblemResponse;
use crate::http::extract::Id;
use crate::http::state::HttpState;

/// Of a transcript that is longer than this the page shows only the end; the rest would be loaded just to be
/// taken out of the page again.
const WHOLE: u64 = 4 * 1024 * 1024;
/// How many records of a long transcript are shown.
const LAST_RECORDS: u64 = 400;

#[derive(Template)]
#[template(path = "operation.html")]
struct OperationPage {
    frame: Frame,
    detail: OperationDetail,
    state: &'static str,
    beside: String,
    reason: Option<String>,
    blocked: Option<String>,
    ended: bool,
    /// What is asked before a plan is approved, where its role wants that.
    confirm: Option<String>,
    /// The record that the page starts with.
    from: u64,
    records: u64,
    locks: Vec<String>,
    ledger: Vec<LedgerRow>,
}

struct LedgerRow {
    at: String,
    state: &'static str,
    source: String,
    reason: String,
}

impl OperationPage {
    fn new(detail: OperationDetail, confirm: Option<String>) -> Self {
        let summary = &detail.summary;
        let stored = detail.attempts.iter().find(|attempt| attempt.attempt == summary.attempt);
        let (bytes, records) =
            stored.map_or((0, 0), |stored| (stored.transcript_bytes, stored.transcript_records));
        let from = if bytes > WHOLE { records.saturating_sub(LAST_RECORDS) + 1 } else { 1 };
        let locks = detail.locks.iter().map(|lock| {
            let mode = match lock.mode {
                LockMode::Shared => "shared",
                LockMode::Exclusive => "exclusive",
            };
            format!("{} {} ({mode})", lock.kind, lock.id)
        });
        let ledger = detail.ledger.iter().map(|entry| LedgerRow {
            at: entry.at.to_string(),
            state: entry.state.as_str(),
            source: entry.source.clone(),
            reason: entry.reason.as_ref().map(ToString::to_string).unwrap_or_default(),
        });
        Self {
            frame: Frame::new(),
            state: summary.state.as_str(),
            beside: beside(summary),
            reason: summary.reason.as_ref().map(ToString::to_string),
            blocked: summary.blocked.as_ref().map(|blocked| {
                format!("Blocked on node {} since {}: {}", blocked.node, blocked.since, blocked.reason)
            }),
            ended: summary.state.outcome().is_some(),
            confirm,
            from,
            records,
            locks: locks.collect(),
            ledger: ledger.collect(),
            detail,
        }
    }
}

/// `GET /operations/{id}`.
pub(super) async fn show(State(site): State<HttpState>, id: Result<Id, ProblemResponse>) -> Response {
    let id = match id {
        Ok(Id(id)) => id,
        Err(refusal) => return refused(&refusal.0),
    };
    let detail = match site.operations.detail(id).await {
        Ok(detail) => detail,
        Err(problem) => return refused(&problem),
    };
    let summary = &detail.summary;
    let catalog = summary.is_dry_run().then(|| site.backends.catalog(&summary.backend)).flatten();
    let confirm = catalog.and_then(|catalog| catalog.find(&summary.name).ok()?.1.confirm.clone());
    html(StatusCode::OK, &OperationPage::new(detail, confirm))
}

/// `POST /operations/{id}/cancel`, from the page's button.
pub(super) async fn cancel(State(site): State<HttpState>, id: Result<Id, ProblemResponse>) -> Response {
    let id = match id {
        Ok(Id(id)) => id,
        Err(refusal) => return refused(&refusal.0),
    };
    match site.operations.cancel(id, Some("page".to_owned())).await {
        Ok(()) => Redirect::to(&format!("/operations/{id}")).into_response(),
        Err(problem) => refused(&problem),
    }
}

/// `POST /operations/{id}/approve`, from the page's button: goes on to the Operation that carries the plan out.
pub(super) async fn approve(State(site): State<HttpState>, id: Result<Id, ProblemResponse>) -> Response {
    let id = match id {
        Ok(Id(id)) => id,
        Err(refusal) => return refused(&refusal.0),
    };
    // A dry run has one plan for good, once it has succeeded.
    let request = ApproveRequest { requested_by: Some("page".to_owned()), plan: None };
    match site.operations.approve(id, request).await {
        Ok(accepted) => Redirect::to(&format!("/operations/{}", accepted.id)).into_response(),
        Err(problem) => refused(&problem),
    }
}
