//! What is known of a target.

use aegir_protocol::api::DocumentList;
use aegir_protocol::code::Code;
use aegir_protocol::name::{InvalidName, Kind, TargetId};
use axum::extract::{Path, State};

use crate::http::Site;
use crate::http::answer::{Answer, Refusal};

/// `GET /targets/{kind}/{id}/documents`. A target of which nothing is known has none.
pub(super) async fn documents(
    State(site): State<Site>,
    Path((kind, id)): Path<(String, String)>,
) -> Answer<axum::Json<DocumentList>> {
    let refuse = |error: InvalidName| Refusal::new(Code::FieldInvalid, error.to_string());
    let kind: Kind = kind.parse().map_err(refuse)?;
    let id: TargetId = id.parse().map_err(refuse)?;
    Ok(axum::Json(site.relay.documents(&kind, &id).await?))
}
