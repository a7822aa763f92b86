//! Everything that relayd answers, and what each answer carries.

use aegir_protocol::code::Code;
use axum::Router;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{from_fn_with_state, map_response};
use axum::routing::get;
use tokio_util::sync::CancellationToken;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use super::answer::{self, ProblemResponse};
use super::connection::REQUEST_ID;
use super::state::HttpState;
use super::{api, assets, caller, health, pages};
use crate::services::RelayServices;

/// What a page may load: its own script and style, and nothing that stands in it. So nothing that a program
/// printed can run, even if it were taken for HTML.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Everything that relayd answers. Streams end when `stop` is cancelled.
pub(super) fn router(services: RelayServices, stop: CancellationToken) -> Router {
    let site = HttpState::new(services, stop);
    let fixed = |name, value| SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value));
    let no_store = HeaderValue::from_static("no-store");
    Router::new()
        .nest("/api/v1", api::routes().route_layer(from_fn_with_state(site.clone(), caller::api)))
        .merge(pages::routes().route_layer(from_fn_with_state(site.clone(), caller::page)))
        .merge(pages::open_routes())
        .route("/assets/{name}", get(assets::asset))
        .route("/metrics", get(health::metrics).route_layer(from_fn_with_state(site.clone(), caller::api)))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(site)
        .layer(map_response(answer::as_problem))
        .layer(fixed(CONTENT_SECURITY_POLICY, POLICY))
        .layer(fixed(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(X_FRAME_OPTIONS, "DENY"))
        .layer(fixed(REFERRER_POLICY, "same-origin"))
        .layer(SetResponseHeaderLayer::if_not_present(CACHE_CONTROL, no_store))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_response(DefaultOnResponse::new().level(Level::DEBUG))
                // What fails is logged where it becomes an answer, with its reason.
                .on_failure(()),
        )
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
}

/// The span of a request. Its query is left out, because a sign-in code stands there; headers are left out,
/// because the token stands there.
fn span(request: &Request) -> tracing::Span {
    let id = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path(), request_id = id)
}

async fn no_such_path(uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(200).collect();
    ProblemResponse::new(
        Code::NotFound,
        format!("there is nothing at {path}: docs/reference/http-api.md lists the paths"),
    )
}

async fn no_such_method(method: Method, uri: Uri) -> ProblemResponse {
    let path: String = uri.path().chars().take(200).collect();
    let detail = format!("{path} does not take {method}: the header Allow lists what it takes");
    ProblemResponse::new(Code::MethodNotAllowed, detail)
}
