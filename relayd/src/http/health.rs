//! For load balancers, systemd and Prometheus.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::answer::Answer;
use super::state::HttpState;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: what relayd needs is there; the body says what is not.
pub(super) async fn readyz(State(site): State<HttpState>) -> Response {
    let readiness = site.diagnosis.readiness().await;
    if readiness.is_ready() {
        return "ready\n".into_response();
    }
    let reasons: String = readiness.reasons.iter().map(|reason| format!("{reason}\n")).collect();
    (StatusCode::SERVICE_UNAVAILABLE, reasons).into_response()
}

/// `GET /metrics`: OpenMetrics.
pub(super) async fn metrics(State(site): State<HttpState>) -> Answer<Response> {
    let text = site.diagnosis.metrics().await?;
    Ok(([(CONTENT_TYPE, aegir_service::metrics::CONTENT_TYPE)], text).into_response())
}
