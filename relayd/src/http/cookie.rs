//! The page's cookie, which carries the id of a sign-in session.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// What a proxy says of how it was asked. A client that says so itself only does without its cookie over plain HTTP.
const FORWARDED_PROTO: &str = "x-forwarded-proto";
/// The name of the page's cookie.
const COOKIE_NAME: &str = "aegir_session";

/// The session that a request shows.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    })
}

/// The header's value that keeps a session's id in the browser for so long; empty and for no time, it ends it. Behind TLS
/// the browser never sends it without TLS.
pub(super) fn set_cookie(request: &HeaderMap, session: &str, age: Duration) -> String {
    let secure =
        if request.get(FORWARDED_PROTO).is_some_and(|scheme| scheme == "https") { "; Secure" } else { "" };
    let age = age.as_secs();
    format!("{COOKIE_NAME}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found() {
        let sent = |cookie: &str| HeaderMap::from_iter([(COOKIE, cookie.parse().unwrap())]);
        assert_eq!(session(&sent("a=b; aegir_session=x=y")), Some("x=y"));
        assert_eq!(session(&sent("xaegir_session=1")), None);
    }

    #[test]
    fn a_cookie_that_came_by_tls_stays_with_tls() {
        let from = |scheme: &'static str| {
            HeaderMap::from_iter([(FORWARDED_PROTO.parse().unwrap(), scheme.parse().unwrap())])
        };
        let minute = Duration::from_secs(60);
        let plain = "aegir_session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Strict";
        assert_eq!(set_cookie(&HeaderMap::new(), "x", minute), plain);
        assert_eq!(set_cookie(&from("http"), "x", minute), plain);
        assert_eq!(set_cookie(&from("https"), "x", minute), format!("{plain}; Secure"));
    }
}
