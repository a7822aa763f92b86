//! Signing in to the pages.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer to `POST /api/v1/sign-in-links`: a path with a code that works once, for ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignInLink {
    /// `/sign-in?code=…`.
    pub path: String,
    /// Until when it works.
    pub expires_at: Timestamp,
}
