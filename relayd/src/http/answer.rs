//! From a problem to an HTTP answer: the one place where that happens.

use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;
use axum::http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// The content type of a problem (RFC 9457).
pub(super) const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A request that is refused.
#[derive(Debug)]
pub(super) struct ProblemResponse(pub(super) Problem);

impl ProblemResponse {
    /// The refusal with this code.
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        if status.is_server_error() {
            tracing::error!(code = self.0.code, error = self.0.detail, "a request could not be answered");
        }
        let body = serde_json::to_vec(&self.0).expect("a problem has string keys and no failing serializers");
        let mut response = (status, [(CONTENT_TYPE, PROBLEM)], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Makes a problem of a refusal that is none: what the libraries beneath answer by themselves.
pub(super) async fn as_problem(response: Response) -> Response {
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let code = match response.status() {
        _ if kind == PROBLEM.as_bytes() || kind.starts_with(b"text/html") => return response,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Code::RequestTimeout,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::URI_TOO_LONG => Code::UriTooLong,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Code::HeadersTooLarge,
        status if status.is_client_error() => Code::RequestMalformed,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => return response,
    };
    let detail = match response.status().canonical_reason() {
        Some(reason) => format!("the request can't be answered: {reason}"),
        None => "the request can't be answered".to_owned(),
    };
    let mut problem = ProblemResponse::new(code, detail).into_response();
    if let Some(allowed) = response.headers().get(ALLOW) {
        problem.headers_mut().insert(ALLOW, allowed.clone());
    }
    problem
}

/// The status of a problem. A code that is never meant to be an answer has none: that it became one is an error
/// of relayd's own.
pub(super) fn status(problem: &Problem) -> StatusCode {
    match StatusCode::from_u16(problem.status) {
        Ok(status) if status.is_client_error() || status.is_server_error() => status,
        Ok(_) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a handler gives.
pub(super) type Answer<T> = Result<T, ProblemResponse>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_becomes_an_error_and_never_a_success() {
        for &code in Code::ALL {
            let status = status(&Problem::new(code, ""));
            assert!(status.is_client_error() || status.is_server_error(), "{code}: {status}");
        }
        assert_eq!(status(&Problem::new(Code::NoSuchOperation, "")), StatusCode::NOT_FOUND);
        assert_eq!(status(&Problem::new(Code::Completed, "")), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
