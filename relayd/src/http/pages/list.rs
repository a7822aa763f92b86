//! The list of Operations.

use aegir_api::OperationSummary;
use aegir_protocol::id::OperationId;
use aegir_protocol::state::State as OperationState;
use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::frame::{Frame, beside, html, refused};
use crate::http::answer::ProblemResponse;
use crate::http::list_query::OperationListQuery;
use crate::http::query::FormParameters;
use crate::http::state::HttpState;

/// A row of the list.
struct Row {
    id: OperationId,
    state: &'static str,
    beside: String,
    name: String,
    target: String,
    requested_at: String,
    requested_by: String,
}

impl From<&OperationSummary> for Row {
    fn from(summary: &OperationSummary) -> Self {
        Self {
            id: summary.id,
            state: summary.state.as_str(),
            beside: beside(summary),
            name: summary.name.to_string(),
            target: format!("{} {}", summary.target.kind, summary.target.name),
            requested_at: summary.requested_at.to_string(),
            requested_by: summary.requested_by.clone().unwrap_or_default(),
        }
    }
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage {
    frame: Frame,
    states: &'static [OperationState],
    /// What the form shows as chosen.
    chosen: Chosen,
    rows: Vec<Row>,
    /// The path of the next page.
    next: Option<String>,
    /// Whether new Operations are added at the top as they come: not where only some are shown.
    live: bool,
}

/// What was chosen from the list.
#[derive(Default)]
struct Chosen {
    state: String,
    target: String,
    name: String,
}

impl Chosen {
    fn query(&self) -> String {
        let parts = [("state", &self.state), ("target", &self.target), ("name", &self.name)];
        // Only words that were read as names and states get here; they mean nothing in a URL.
        parts
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={value}&"))
            .collect()
    }
}

/// `GET /`.
pub(super) async fn list(
    State(site): State<HttpState>,
    query: Result<FormParameters<OperationListQuery>, ProblemResponse>,
) -> Response {
    let filter = match query {
        Ok(FormParameters(OperationListQuery(filter))) => filter,
        Err(refusal) => return refused(&refusal.0),
    };
    let list = match site.operations.list(&filter).await {
        Ok(list) => list,
        Err(problem) => return refused(&problem),
    };
    let target = filter.target.as_ref().map(|target| match &target.name {
        Some(name) => format!("{}:{name}", target.kind),
        None => target.kind.to_string(),
    });
    let states: Vec<_> = filter.states.iter().map(|state| state.as_str()).collect();
    let chosen = Chosen {
        state: states.join(","),
        target: target.unwrap_or_default(),
        name: filter.name.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    let query = chosen.query();
    let page = ListPage {
        frame: Frame::new(),
        states: OperationState::ALL,
        rows: list.operations.iter().map(Row::from).collect(),
        next: list.next.map(|next| format!("/?{query}before={next}")),
        live: query.is_empty() && filter.before.is_none(),
        chosen,
    };
    html(StatusCode::OK, &page)
}
