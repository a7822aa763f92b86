//! Backends: which there are, and whether anything new may start there.

use aegir_protocol::api::{BackendList, PauseRequest};
use aegir_protocol::code::Code;
use aegir_protocol::name::BackendName;
use axum::extract::{Path, State};

use crate::http::Site;
use crate::http::answer::{Answer, Refusal};
use crate::http::extract::OptionalJson;

/// `GET /backends`.
pub(super) async fn list(State(site): State<Site>) -> Answer<axum::Json<BackendList>> {
    Ok(axum::Json(site.relay.backends().await?))
}

/// `POST /backends/{name}/pause`.
pub(super) async fn pause(
    State(site): State<Site>,
    Path(backend): Path<String>,
    OptionalJson(request): OptionalJson<PauseRequest>,
) -> Answer<axum::Json<BackendList>> {
    site.relay.pause(named(&backend)?, request).await?;
    list(State(site)).await
}

/// `POST /backends/{name}/resume`. One that is not paused is as it should be.
pub(super) async fn resume(
    State(site): State<Site>,
    Path(backend): Path<String>,
) -> Answer<axum::Json<BackendList>> {
    site.relay.resume(named(&backend)?).await?;
    list(State(site)).await
}

fn named(text: &str) -> Answer<BackendName> {
    text.parse().map_err(|error: aegir_protocol::name::InvalidName| {
        Refusal::new(Code::UnknownBackend, error.to_string())
    })
}
