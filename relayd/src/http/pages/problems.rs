//! What each code means and what to do: where the `type` of a problem leads. Anybody may read it, because it says
//! nothing of this relayd. Its text is that of `docs/reference/errors.md`.

use std::sync::LazyLock;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::frame::{Frame, html};
use crate::http::answer::ProblemResponse;
use crate::http::extract::InPath;

static REFERENCE: LazyLock<Vec<Explained>> =
    LazyLock::new(|| read(include_str!("../../../../docs/reference/errors.md")));

/// A row of the reference.
struct Explained {
    code: String,
    seen_in: String,
    happened: Vec<Piece>,
    to_do: Vec<Piece>,
}

/// A piece of a sentence.
struct Piece {
    text: String,
    is_code: bool,
}

#[derive(Template)]
#[template(path = "problems.html")]
struct ProblemsPage {
    frame: Frame,
    /// The code that was asked for and that nobody knows.
    unknown: Option<String>,
    /// Whether all are shown.
    all: bool,
    codes: Vec<&'static Explained>,
}

/// `GET /problems`: all of them.
pub(super) async fn list() -> Response {
    let codes = REFERENCE.iter().collect();
    html(StatusCode::OK, &ProblemsPage { frame: Frame::signed_out(), unknown: None, all: true, codes })
}

/// `GET /problems/{code}`: one of them; all of them for a code that is none.
pub(super) async fn show(code: Result<InPath<String>, ProblemResponse>) -> Response {
    let code = code.map(|InPath(code)| code).unwrap_or_default();
    match REFERENCE.iter().find(|explained| explained.code == code) {
        Some(explained) => {
            let page = ProblemsPage {
                frame: Frame::signed_out(),
                unknown: None,
                all: false,
                codes: vec![explained],
            };
            html(StatusCode::OK, &page)
        }
        None => {
            let unknown = Some(code.chars().take(64).collect());
            let codes = REFERENCE.iter().collect();
            html(
                StatusCode::NOT_FOUND,
                &ProblemsPage { frame: Frame::signed_out(), unknown, all: true, codes },
            )
        }
    }
}

/// The rows of every table whose first cell is a code.
fn read(reference: &str) -> Vec<Explained> {
    reference.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Explained> {
    let mut cells = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ");
    let code = cells.next()?.strip_suffix('`')?.to_owned();
    let (seen_in, happened, to_do) = (cells.next()?, cells.next()?, cells.next()?);
    Some(Explained { code, seen_in: seen_in.to_owned(), happened: pieces(happened), to_do: pieces(to_do) })
}

/// A sentence of the reference, in pieces that are code and pieces that are not.
fn pieces(sentence: &str) -> Vec<Piece> {
    let pieces = sentence.split('`').enumerate();
    let piece = |(index, text): (usize, &str)| {
        let is_code = index % 2 == 1;
        Piece { text: if is_code { text.to_owned() } else { without_links(text) }, is_code }
    };
    pieces.map(piece).filter(|piece| !piece.text.is_empty()).collect()
}

/// The words of links alone: where they lead is relative to the reference.
fn without_links(text: &str) -> String {
    let mut words = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once('[')
        && let Some((name, behind)) = link.split_once("](")
        && let Some((_, behind)) = behind.split_once(')')
    {
        words.push_str(before);
        words.push_str(name);
        rest = behind;
    }
    words + rest
}

#[cfg(test)]
mod tests {
    use aegir_protocol::code::Code;

    use super::*;

    #[test]
    fn every_code_is_explained() {
        for &code in Code::ALL {
            let explained = REFERENCE.iter().find(|explained| explained.code == code.as_str());
            let explained = explained.unwrap_or_else(|| panic!("{code} has no row that can be read"));
            assert!(!explained.happened.is_empty() && !explained.to_do.is_empty(), "{code}");
        }
    }

    #[test]
    fn links_are_words() {
        assert_eq!(without_links("See [Leases](../a.md), and [b](c)."), "See Leases, and b.");
        assert_eq!(without_links("a [b] c"), "a [b] c");
        let read = pieces("Run `aegir ls` now.");
        let read: Vec<_> = read.iter().map(|piece| (piece.text.as_str(), piece.is_code)).collect();
        assert_eq!(read, [("Run ", false), ("aegir ls", true), (" now.", false)]);
    }
}
