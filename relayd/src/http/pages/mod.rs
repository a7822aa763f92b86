//! A plain page for people: a list of Operations, and one of them live.

mod operation;
mod problems;
mod sign_in;

use aegir_protocol::api::{OperationSummary, Problem};
use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::state::State as OperationState;
use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};

use super::api::OperationListQuery;
use super::query::FormParameters;
use super::{HttpState, assets, sse};

/// The paths that need a session.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/", get(list))
        .route("/events", get(sse::list))
        .route("/operations/{id}", get(operation::show))
        .route("/operations/{id}/approve", post(operation::approve))
        .route("/operations/{id}/cancel", post(operation::cancel))
        .route("/sign-out", post(sign_in::sign_out))
}

/// The paths that need none: by which one gets a session, and where problems are explained.
pub(super) fn open_routes() -> Router<HttpState> {
    Router::new()
        // Programs that preview links ask for the head only; that must not use the link up.
        .route("/sign-in", get(sign_in::redeem).head(sign_in::preview))
        .route("/problems", get(problems::list))
        .route("/problems/{code}", get(problems::show))
}

/// What the frame around every page needs.
struct Frame {
    script: String,
    style: String,
    signed_in: bool,
}

impl Frame {
    fn new() -> Self {
        Self { script: assets::script(), style: assets::style(), signed_in: true }
    }

    /// The frame of a page that anybody may see.
    fn signed_out() -> Self {
        Self { signed_in: false, ..Self::new() }
    }
}

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

/// What is said beside the state.
fn beside(summary: &OperationSummary) -> String {
    let mut words = Vec::new();
    if summary.silent {
        words.push("silent");
    }
    if summary.blocked.is_some() {
        words.push("blocked");
    }
    if summary.cancel_requested && summary.state.outcome().is_none() {
        words.push("canceling");
    }
    if summary.check {
        words.push("dry run");
    }
    words.join(", ")
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
async fn list(
    State(site): State<HttpState>,
    query: Result<FormParameters<OperationListQuery>, super::ProblemResponse>,
) -> Response {
    let filter = match query {
        Ok(FormParameters(OperationListQuery(filter))) => filter,
        Err(refusal) => return refused(&refusal.0),
    };
    let list = match site.relay.operations(&filter).await {
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

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    problem: &'a Problem,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    /// What was wrong with the link, if one was used.
    trouble: Option<&'static str>,
}

/// The page of a problem. Of one who is not signed in: how to get a link.
pub(super) fn refused(problem: &Problem) -> Response {
    let status = super::answer::status(problem);
    if problem.code == Code::Unauthorized.as_str() {
        return html(status, &SignInPage { frame: Frame::signed_out(), trouble: None });
    }
    html(status, &ProblemPage { frame: Frame::new(), problem })
}

fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(text)).into_response(),
        Err(error) => super::ProblemResponse::new(Code::Internal, format!("a page can't be made: {error}"))
            .into_response(),
    }
}
