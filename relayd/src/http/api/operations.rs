//! Submitting, listing, showing and canceling Operations.

use aegir_protocol::api::{
    ActionRequest, ApproveRequest, OperationDetail, OperationList, OperationSummary, RetryRequest,
};
use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::name::OperationName;
use aegir_protocol::request::{Accepted, Request};
use aegir_protocol::state::State as OperationState;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::http::Site;
use crate::http::answer::{Answer, Refusal};
use crate::http::extract::{Id, Json, OptionalJson, Parameters};
use crate::store::{OperationFilter, TargetFilter};

/// `POST /operations`: 201 once it is committed, 200 when the idempotency key stands for it already.
pub(super) async fn submit(
    State(site): State<Site>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Answer<(StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>)> {
    let key = match headers.get("idempotency-key").map(|value| value.to_str()) {
        None => None,
        Some(Ok(key)) => Some(key.to_owned()),
        Some(Err(_)) => {
            return Err(Refusal::new(
                Code::FieldInvalid,
                "the header Idempotency-Key must be printable ASCII",
            ));
        }
    };
    Ok(stored(site.relay.submit(request, key).await?))
}

/// The query of `GET /operations`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ListQuery {
    state: Option<String>,
    target: Option<String>,
    name: Option<OperationName>,
    limit: Option<u32>,
    before: Option<OperationId>,
}

impl ListQuery {
    /// What is to be listed. An empty parameter, as a form sends it, is none.
    pub(in crate::http) fn filter(self) -> Answer<OperationFilter> {
        let states = self.state.as_deref().unwrap_or_default();
        let states = states.split(',').filter(|word| !word.is_empty()).map(|word| {
            OperationState::from_word(word).ok_or_else(|| {
                let words: Vec<_> = OperationState::ALL.iter().map(|state| state.as_str()).collect();
                let detail =
                    format!("{:?} is not a state: one of {} is expected", cut(word), words.join(", "));
                Refusal::new(Code::FieldInvalid, detail)
            })
        });
        let target = self.target.as_deref().filter(|target| !target.is_empty()).map(target).transpose()?;
        Ok(OperationFilter {
            states: states.collect::<Result<_, _>>()?,
            target,
            name: self.name,
            limit: self.limit,
            before: self.before,
        })
    }
}

/// `KIND`, or `KIND:NAME`.
fn target(text: &str) -> Answer<TargetFilter> {
    let (kind, name) = match text.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (text, None),
    };
    let invalid = |error: aegir_protocol::name::InvalidName| {
        Refusal::new(Code::FieldInvalid, format!("target: {error}"))
    };
    Ok(TargetFilter {
        kind: kind.parse().map_err(invalid)?,
        name: name.map(str::parse).transpose().map_err(invalid)?,
    })
}

fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}

/// `GET /operations`.
pub(super) async fn list(
    State(site): State<Site>,
    Parameters(query): Parameters<ListQuery>,
) -> Answer<axum::Json<OperationList>> {
    Ok(axum::Json(site.relay.operations(&query.filter()?).await?))
}

/// `GET /operations/{id}`.
pub(super) async fn show(State(site): State<Site>, Id(id): Id) -> Answer<axum::Json<OperationDetail>> {
    Ok(axum::Json(site.relay.operation(id).await?))
}

/// `POST /operations/{id}/cancel`: 202, for what runs ends later than the answer comes.
pub(super) async fn cancel(
    State(site): State<Site>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.relay.cancel(id, request.requested_by).await?;
    accepted(&site, id).await
}

/// `POST /operations/{id}/retry`: 202, with the new attempt waiting.
pub(super) async fn retry(
    State(site): State<Site>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<RetryRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.relay.retry(id, request.requested_by, request.from_start).await?;
    accepted(&site, id).await
}

/// `POST /operations/{id}/approve`: 201 with a new Operation, 200 with the one that approves the same plan already.
pub(super) async fn approve(
    State(site): State<Site>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ApproveRequest>,
) -> Answer<(StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>)> {
    Ok(stored(site.relay.approve(id, request).await?))
}

/// 201 for what is new, 200 for what was there already.
fn stored(accepted: Accepted) -> (StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>) {
    let status = if accepted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/api/v1/operations/{}", accepted.id);
    (status, [(LOCATION, location)], axum::Json(accepted))
}

/// `POST /operations/{id}/lost`.
pub(super) async fn lost(
    State(site): State<Site>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.relay.lost(id, request.requested_by).await?;
    accepted(&site, id).await
}

async fn accepted(site: &Site, id: OperationId) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    Ok((StatusCode::ACCEPTED, axum::Json(site.relay.operation(id).await?.summary)))
}
