//! The API: `docs/reference/http-api.md` lists its paths.

mod backends;
mod dead;
mod operations;
mod system;
mod targets;
mod transcript;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};

use super::state::HttpState;
use super::{live, query};

/// The paths below `/api/v1`.
pub(super) fn routes() -> Router<HttpState> {
    without_parameters()
        .route_layer(from_fn(query::none))
        .route("/operations", get(operations::list).post(operations::submit))
        .route("/operations/{id}/transcript", get(transcript::records))
        .route("/operations/{id}/transcript/raw", get(transcript::raw))
        .route("/operations/{id}/output", get(transcript::output))
        .route("/operations/{id}/events", get(live::operation))
        .route("/dead", get(dead::list))
}

/// Those that take no parameters.
fn without_parameters() -> Router<HttpState> {
    Router::new()
        .route("/operations/{id}", get(operations::show))
        .route("/operations/{id}/cancel", post(operations::cancel))
        .route("/operations/{id}/retry", post(operations::retry))
        .route("/operations/{id}/approve", post(operations::approve))
        .route("/operations/{id}/lost", post(operations::lost))
        .route("/backends", get(backends::list))
        .route("/backends/{name}/pause", post(backends::pause))
        .route("/backends/{name}/resume", post(backends::resume))
        .route("/catalog", get(system::catalog))
        .route("/targets/{kind}/{id}/documents", get(targets::documents))
        .route("/targets/{kind}/{id}/documents/{name}/refresh", post(targets::refresh))
        .route("/nodes", get(system::nodes))
        .route("/check", post(system::check))
        .route("/dead/{id}", get(dead::show).delete(dead::remove))
        .route("/dead/{id}/replay", post(dead::replay))
        .route("/sign-in-links", post(system::sign_in_link))
}
