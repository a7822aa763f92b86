//! Who asks, and whether they may.
//!
//! A program shows the API's token. A browser shows the cookie that it got by a one-time link; because a browser
//! sends cookies for whoever makes it, what changes something must also come from relayd's own page.

use aegir_protocol::code::Code;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::answer::ProblemResponse;
use super::cookie::session;
use super::failed_login::failed_login;
use super::pages::refused;
use super::state::HttpState;

/// Lets only those pass who may use the API.
pub(super) async fn api(State(site): State<HttpState>, request: Request, next: Next) -> Response {
    match check(&site, request.method(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Lets only those pass who may see the page; the others are told how to sign in.
pub(super) async fn page(State(site): State<HttpState>, request: Request, next: Next) -> Response {
    match check(&site, request.method(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refused(&refusal.0),
    }
}

/// Whether a request may be answered.
async fn check(site: &HttpState, method: &Method, headers: &HeaderMap) -> Result<(), ProblemResponse> {
    if let Some(shown) = bearer(headers) {
        return if site.sessions.is_token(shown) {
            Ok(())
        } else {
            failed_login("a request shows a token that is not this relayd's").await;
            Err(ProblemResponse::new(
                Code::Unauthorized,
                "the token is not this relayd's: it stands in the file api-token in relayd's state directory",
            ))
        };
    }
    if let Some(session) = session(headers)
        && site.sessions.is_session(session).await?
    {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        return if reads || is_same_origin(headers) {
            Ok(())
        } else {
            Err(ProblemResponse::new(
                Code::CrossSite,
                "the request comes from another site: use the buttons of relayd's own page, or the API's token",
            ))
        };
    }
    Err(ProblemResponse::new(
        Code::Unauthorized,
        "the request shows no token: send `Authorization: Bearer TOKEN` with the token from the file api-token \
         in relayd's state directory, or sign in to the page with `aegir sign-in`",
    ))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether a browser says that the request comes from this site's own page. Every browser of today sends
/// `Sec-Fetch-Site` to a trustworthy address and `Origin` with what is not a plain read; a request with neither
/// is not from a page, and whoever is not a browser has the token.
fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    match (text("sec-fetch-site"), text(ORIGIN.as_str()), text(HOST.as_str())) {
        (Some(site), _, _) => site == "same-origin",
        (None, Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (None, _, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_found() {
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc ")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "Basic abc")])), None);
    }

    #[test]
    fn only_the_own_page_is_of_the_same_origin() {
        let same = |pairs: &[(&'static str, &str)]| is_same_origin(&headers(pairs));
        assert!(same(&[("sec-fetch-site", "same-origin"), ("host", "a:1")]));
        assert!(same(&[("origin", "http://a:1"), ("host", "a:1")]));
        assert!(!same(&[("sec-fetch-site", "same-site"), ("origin", "http://a:1"), ("host", "a:1")]));
        assert!(!same(&[("sec-fetch-site", "cross-site")]));
        assert!(!same(&[("origin", "http://b:1"), ("host", "a:1")]));
        assert!(!same(&[("origin", "null"), ("host", "a:1")]));
        assert!(!same(&[("host", "a:1")]));
    }
}
