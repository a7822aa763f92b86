//! What is known of a target.

use std::str::FromStr;

use aegir_protocol::api::{ActionRequest, DocumentList};
use aegir_protocol::code::Code;
use aegir_protocol::name::{DocumentName, InvalidName, Kind, TargetId};
use aegir_protocol::request::Accepted;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::Site;
use crate::http::answer::{Answer, Refusal};
use crate::http::extract::OptionalJson;

/// `GET /targets/{kind}/{id}/documents`. A target of which nothing is known has none.
pub(super) async fn documents(
    State(site): State<Site>,
    Path((kind, id)): Path<(String, String)>,
) -> Answer<axum::Json<DocumentList>> {
    let (kind, id): (Kind, TargetId) = (part(&kind)?, part(&id)?);
    Ok(axum::Json(site.relay.documents(&kind, &id).await?))
}

/// `POST /targets/{kind}/{id}/documents/{name}/refresh`.
pub(super) async fn refresh(
    State(site): State<Site>,
    Path((kind, id, name)): Path<(String, String, String)>,
    OptionalJson(request): OptionalJson<ActionRequest>,
) -> Answer<(StatusCode, axum::Json<Accepted>)> {
    let (kind, id): (Kind, TargetId) = (part(&kind)?, part(&id)?);
    let name: DocumentName = part(&name)?;
    let accepted = site.relay.refresh(&kind, &id, &name, request.requested_by).await?;
    Ok((StatusCode::CREATED, axum::Json(accepted)))
}

fn part<T: FromStr<Err = InvalidName>>(text: &str) -> Answer<T> {
    text.parse().map_err(|error: InvalidName| Refusal::new(Code::FieldInvalid, error.to_string()))
}
