//! What there is around Operations: catalogs, nodes, the check of the way, links to sign in.

use aegir_api::{CatalogList, CheckReport, CheckRequest, NodeList, SignInLink};
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::answer::Answer;
use crate::http::extract::OptionalJson;
use crate::http::state::HttpState;

/// `GET /catalog`.
pub(super) async fn catalog(State(site): State<HttpState>) -> axum::Json<CatalogList> {
    axum::Json(site.backends.catalogs())
}

/// `GET /nodes`.
pub(super) async fn nodes(State(site): State<HttpState>) -> axum::Json<NodeList> {
    axum::Json(site.backends.nodes())
}

/// `POST /check`.
pub(super) async fn check(
    State(site): State<HttpState>,
    OptionalJson(request): OptionalJson<CheckRequest>,
) -> axum::Json<CheckReport> {
    axum::Json(site.diagnosis.check(request).await)
}

/// `POST /sign-in-links`.
pub(super) async fn sign_in_link(
    State(site): State<HttpState>,
) -> Answer<(StatusCode, axum::Json<SignInLink>)> {
    Ok((StatusCode::CREATED, axum::Json(site.sessions.sign_in_link().await?)))
}
