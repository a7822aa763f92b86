//! Submitting, listing, showing and canceling Operations.

use aegir_api::{
    ActionRequest, ApproveRequest, OperationDetail, OperationList, OperationSummary, RetryRequest,
};
use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::request::{Accepted, Request};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};

use crate::http::answer::{Answer, ProblemResponse};
use crate::http::extract::{Id, Json, OptionalJson};
use crate::http::list_query::OperationListQuery;
use crate::http::query::{FromQuery, Parameters, QueryParameters};
use crate::http::state::HttpState;

/// `POST /operations`: 201 once it is committed, 200 when the idempotency key stands for it already.
pub(super) async fn submit(
    State(site): State<HttpState>,
    _: Parameters<NoQuery>,
    headers: HeaderMap,
    Json(request): Json<Request>,
) -> Answer<(StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>)> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = match (keys.next().map(|value| value.to_str()), keys.next()) {
        (None, _) => None,
        (Some(Ok(key)), None) => Some(key.to_owned()),
        (Some(Ok(_)), Some(_)) => {
            let detail = "the header Idempotency-Key was sent twice: send it once";
            return Err(ProblemResponse::new(Code::FieldInvalid, detail));
        }
        (Some(Err(_)), _) => {
            let detail = "the header Idempotency-Key must be printable ASCII";
            return Err(ProblemResponse::new(Code::FieldInvalid, detail));
        }
    };
    Ok(stored(site.operations.submit(request, key).await?))
}

/// The query of `POST /operations`, which has none.
pub(super) struct NoQuery;

impl FromQuery for NoQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[];

    fn read(_: &QueryParameters) -> Answer<Self> {
        Ok(Self)
    }
}

/// `GET /operations`.
pub(super) async fn list(
    State(site): State<HttpState>,
    Parameters(OperationListQuery(filter)): Parameters<OperationListQuery>,
) -> Answer<axum::Json<OperationList>> {
    Ok(axum::Json(site.operations.list(&filter).await?))
}

/// `GET /operations/{id}`.
pub(super) async fn show(State(site): State<HttpState>, Id(id): Id) -> Answer<axum::Json<OperationDetail>> {
    Ok(axum::Json(site.operations.detail(id).await?))
}

/// `POST /operations/{id}/cancel`: 202, for what runs ends later than the answer comes.
pub(super) async fn cancel(
    State(site): State<HttpState>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.operations.cancel(id, request.requested_by).await?;
    accepted(&site, id).await
}

/// `POST /operations/{id}/retry`: 202, with the new attempt waiting.
pub(super) async fn retry(
    State(site): State<HttpState>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<RetryRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.operations.retry(id, request.requested_by, request.from_start).await?;
    accepted(&site, id).await
}

/// `POST /operations/{id}/approve`: 201 with a new Operation, 200 with the one that approves the same plan already.
pub(super) async fn approve(
    State(site): State<HttpState>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ApproveRequest>,
) -> Answer<(StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>)> {
    Ok(stored(site.operations.approve(id, request).await?))
}

/// 201 for what is new, 200 for what was there already.
fn stored(accepted: Accepted) -> (StatusCode, [(axum::http::HeaderName, String); 1], axum::Json<Accepted>) {
    let status = if accepted.repeated { StatusCode::OK } else { StatusCode::CREATED };
    let location = format!("/api/v1/operations/{}", accepted.id);
    (status, [(LOCATION, location)], axum::Json(accepted))
}

/// `POST /operations/{id}/lost`.
pub(super) async fn lost(
    State(site): State<HttpState>,
    Id(id): Id,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    site.operations.lost(id, request.requested_by).await?;
    accepted(&site, id).await
}

async fn accepted(site: &HttpState, id: OperationId) -> Answer<(StatusCode, axum::Json<OperationSummary>)> {
    Ok((StatusCode::ACCEPTED, axum::Json(site.operations.detail(id).await?.summary)))
}
