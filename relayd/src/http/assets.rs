//! The page's script and style, kept in the program. Their paths change with their content, so that a browser
//! may keep them for ever.

use std::sync::LazyLock;

use aegir_protocol::code::Code;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::answer::ProblemResponse;
use super::extract::InPath;

/// A file.
struct Asset {
    content: &'static str,
    kind: &'static str,
    /// Below `/assets/`.
    name: String,
}

impl Asset {
    fn new(stem: &str, extension: &str, kind: &'static str, content: &'static str) -> Self {
        let digest = Sha256::digest(content.as_bytes());
        let hash = hex::encode(&digest[..6]);
        Self { content, kind, name: format!("{stem}-{hash}.{extension}") }
    }
}

static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page", "js", "text/javascript; charset=utf-8", include_str!("../../assets/page.js"))
});
static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new("page", "css", "text/css; charset=utf-8", include_str!("../../assets/page.css"))
});

/// The path of the script.
pub(super) fn script() -> String {
    format!("/assets/{}", SCRIPT.name)
}

/// The path of the style.
pub(super) fn style() -> String {
    format!("/assets/{}", STYLE.name)
}

/// `GET /assets/{name}`.
pub(super) async fn asset(InPath(name): InPath<String>) -> Response {
    let found = [&*SCRIPT, &*STYLE].into_iter().find(|asset| asset.name == name);
    match found {
        Some(asset) => {
            let headers =
                [(CONTENT_TYPE, asset.kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
            (headers, asset.content).into_response()
        }
        None => {
            ProblemResponse::new(Code::NotFound, "there is no such file; reload the page").into_response()
        }
    }
}
