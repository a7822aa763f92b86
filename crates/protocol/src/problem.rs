//! Why a request was refused: a problem (RFC 9457), by HTTP and by AMQP.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::Code;

/// Why a request was refused (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Where the code is explained: a path of relayd's own, which needs no token.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status again.
    pub status: u16,
    /// The stable code; with several `errors`, the first one's.
    pub code: String,
    /// What happened, to what, and what to do next.
    pub detail: String,
    /// Each field that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
}

impl Problem {
    /// The problem with this code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("/problems/{code}"),
            status: code.status(),
            code: code.as_str().to_owned(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }
}

/// A field of a request that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldProblem {
    /// JSON pointer (RFC 6901) into the request.
    pub pointer: String,
    /// The stable code.
    pub code: String,
    /// What is expected.
    pub message: String,
}

impl FieldProblem {
    /// The problem of one field.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code: code.as_str().to_owned(), message: message.into() }
    }
}

/// A key of a request as a JSON pointer's token (RFC 6901, section 3). Of one that no name can be as long as, its start.
#[must_use]
pub fn pointer_token(key: &str) -> String {
    key.chars().take(64).collect::<String>().replace('~', "~0").replace('/', "~1")
}
