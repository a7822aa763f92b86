//! From a one-time link to a session.

use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::frame::{Frame, SignInPage, html, refused};
use crate::http::cookie::{session, set_cookie};
use crate::http::failed_login::failed_login;
use crate::http::state::HttpState;
use crate::sign_in::SESSION_LIFETIME;

#[derive(Debug, Default, Deserialize)]
pub(super) struct SignInQuery {
    code: Option<String>,
}

/// `HEAD /sign-in`.
pub(super) async fn preview() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// `GET /sign-in?code=…`.
pub(super) async fn redeem(
    State(site): State<HttpState>,
    headers: HeaderMap,
    query: Result<Query<SignInQuery>, QueryRejection>,
) -> Response {
    let Some(code) = query.ok().and_then(|Query(query)| query.code) else {
        return html(StatusCode::OK, &SignInPage { frame: Frame::signed_out(), trouble: None });
    };
    match site.sessions.redeem(&code).await {
        Ok(Some(session)) => {
            let cookie = set_cookie(&headers, &session, SESSION_LIFETIME);
            (StatusCode::SEE_OTHER, [(LOCATION, "/".to_owned()), (SET_COOKIE, cookie)]).into_response()
        }
        Ok(None) => {
            failed_login("somebody used a sign-in link that does not work, or not any more").await;
            let trouble = "This link has been used, or is older than ten minutes.";
            html(StatusCode::UNAUTHORIZED, &SignInPage { frame: Frame::signed_out(), trouble: Some(trouble) })
        }
        Err(problem) => refused(&problem),
    }
}

/// `POST /sign-out`: ends the session here and in the browser.
pub(super) async fn sign_out(State(site): State<HttpState>, headers: HeaderMap) -> Response {
    if let Some(session) = session(&headers)
        && let Err(problem) = site.sessions.sign_out(session).await
    {
        return refused(&problem);
    }
    let cookie = set_cookie(&headers, "", Duration::ZERO);
    (StatusCode::SEE_OTHER, [(LOCATION, "/sign-in".to_owned()), (SET_COOKIE, cookie)]).into_response()
}
