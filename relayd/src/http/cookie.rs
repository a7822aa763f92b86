//! The page's cookie, which carries the id of a sign-in session.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// The name of the page's cookie.
pub(super) const COOKIE_NAME: &str = "aegir_session";

/// The session that a request shows.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|value| value.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    })
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
}
