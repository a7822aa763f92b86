//! Backends: which there are, and whether anything new may start there.

use aegir_api::{BackendList, PauseRequest};
use aegir_protocol::name::BackendName;
use axum::extract::State;

use crate::http::answer::Answer;
use crate::http::extract::{InPath, OptionalJson};
use crate::http::state::HttpState;

/// `GET /backends`.
pub(super) async fn list(State(site): State<HttpState>) -> Answer<axum::Json<BackendList>> {
    Ok(axum::Json(site.backends.list().await?))
}

/// `POST /backends/{name}/pause`.
pub(super) async fn pause(
    State(site): State<HttpState>,
    InPath(backend): InPath<BackendName>,
    OptionalJson(request): OptionalJson<PauseRequest>,
) -> Answer<axum::Json<BackendList>> {
    site.backends.pause(backend, request).await?;
    list(State(site)).await
}

/// `POST /backends/{name}/resume`. One that is not paused is as it should be.
pub(super) async fn resume(
    State(site): State<HttpState>,
    InPath(backend): InPath<BackendName>,
) -> Answer<axum::Json<BackendList>> {
    site.backends.resume(backend).await?;
    list(State(site)).await
}
