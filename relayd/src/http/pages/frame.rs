//! What all pages have in common.

use aegir_api::OperationSummary;
use aegir_protocol::code::Code;
use aegir_protocol::problem::Problem;
use aegir_service::terminal::{turns_text_round, visible};
use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use crate::http::answer::{self, ProblemResponse};
use crate::http::assets;

/// What the frame around every page needs.
pub(super) struct Frame {
    pub(super) script: String,
    pub(super) style: String,
    pub(super) signed_in: bool,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { script: assets::script(), style: assets::style(), signed_in: true }
    }

    /// The frame of a page that anybody may see.
    pub(super) fn signed_out() -> Self {
        Self { signed_in: false, ..Self::new() }
    }
}

/// What is said beside the state.
pub(super) fn beside(summary: &OperationSummary) -> String {
    let mut words = Vec::new();
    if summary.silent {
        words.push("silent");
    }
    if summary.blocked.is_some() {
        words.push("blocked");
    }
    if summary.cancel_requested && summary.state.outcome().is_none() {
        words.push("canceling");
    }
    if summary.is_dry_run() {
        words.push("dry run");
    }
    words.join(", ")
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    frame: Frame,
    problem: &'a Problem,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    pub(super) frame: Frame,
    /// What was wrong with the link, if one was used.
    pub(super) trouble: Option<&'static str>,
}

/// The page of a problem. Of one who is not signed in: how to get a link.
pub(crate) fn refused(problem: &Problem) -> Response {
    let status = answer::status(problem);
    if problem.code == Code::Unauthorized.as_str() {
        return html(status, &SignInPage { frame: Frame::signed_out(), trouble: None });
    }
    html(status, &ProblemPage { frame: Frame::new(), problem })
}

/// Shows the characters that turn the order of text round: with one of them in it, a name or a reason reads as another.
fn readable(page: String) -> String {
    if !page.contains(turns_text_round) {
        return page;
    }
    let mut shown = String::with_capacity(page.len() + 64);
    for c in page.chars() {
        if turns_text_round(c) {
            shown.push_str(&visible(c).replace('<', "&lt;").replace('>', "&gt;"));
        } else {
            shown.push(c);
        }
    }
    shown
}

pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, Html(readable(text))).into_response(),
        Err(error) => {
            ProblemResponse::new(Code::Internal, format!("a page can't be made: {error}")).into_response()
        }
    }
}
