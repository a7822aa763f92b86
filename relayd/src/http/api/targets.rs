//! What is known of a target.

use aegir_api::{ActionRequest, DocumentList};
use aegir_protocol::name::{DocumentName, Kind, TargetId};
use aegir_protocol::request::Accepted;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::answer::Answer;
use crate::http::extract::{InPath, OptionalJson};
use crate::http::state::HttpState;

/// `GET /targets/{kind}/{id}/documents`. A target of which nothing is known has none.
pub(super) async fn documents(
    State(site): State<HttpState>,
    InPath((kind, id)): InPath<(Kind, TargetId)>,
) -> Answer<axum::Json<DocumentList>> {
    Ok(axum::Json(site.documents.list(&kind, &id).await?))
}

/// `POST /targets/{kind}/{id}/documents/{name}/refresh`.
pub(super) async fn refresh(
    State(site): State<HttpState>,
    InPath((kind, id, name)): InPath<(Kind, TargetId, DocumentName)>,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<Accepted>)> {
    let accepted = site.documents.refresh(&kind, &id, &name, request.requested_by).await?;
    Ok((StatusCode::CREATED, axum::Json(accepted)))
}
