//! A plain page for people: a list of Operations, and one of them live.

mod frame;
mod list;
mod operation;
mod problems;
mod sign_in;

use axum::Router;
use axum::routing::{get, post};

pub(super) use frame::refused;

use super::live;
use super::state::HttpState;

/// The paths that need a session.
pub(super) fn routes() -> Router<HttpState> {
    Router::new()
        .route("/", get(list::list))
        .route("/events", get(live::list))
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
