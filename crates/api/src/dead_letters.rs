//! Dead letters: messages that nobody could handle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `GET /api/v1/dead`: newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterList {
    /// One page.
    pub letters: Vec<DeadLetter>,
    /// What to send as `before` for the next page; absent on the last.
    pub next: Option<u64>,
    /// How many are kept, whatever the page shows.
    pub kept: DeadLettersKept,
}

/// How many dead letters relayd keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLettersKept {
    pub count: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// Whether that is as much as relayd keeps: it takes no more of them, and the rest stays in `aegir.dead`.
    pub full: bool,
}

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    pub id: u64,
    /// The stable code of why it could not be handled.
    pub code: String,
    /// Why, in a sentence.
    pub reason: String,
    /// The queue that it came from; empty if it was sent to the dead-letter exchange itself.
    pub queue: String,
    /// The exchange that it was published to, and is by a replay.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// What its sender says that the body is.
    pub content_type: Option<String>,
    /// Its sender's id of it.
    pub message_id: Option<String>,
    /// When it was found that it can't be handled, if whoever found it said so.
    pub buried_at: Option<Timestamp>,
    /// When relayd took it.
    pub received_at: Timestamp,
    /// How many bytes the body had.
    pub size: u64,
    /// How much of the body is here.
    pub body: KeptBody,
    /// Whether its headers were too large to be kept.
    pub headers_dropped: bool,
    /// How often it was replayed before it came (back) here.
    pub replays: u32,
}

/// How much of a dead letter's body is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptBody {
    /// Every byte.
    Whole,
    /// All but its secrets, which came in the clear. It can't be replayed.
    Redacted,
    /// Nothing, for nothing says what in it is a secret. It can't be replayed.
    Removed,
}

impl KeptBody {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Whole, Self::Redacted, Self::Removed];

    /// The word for it, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Redacted => "redacted",
            Self::Removed => "removed",
        }
    }

    /// What a word stands for.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kept| kept.as_str() == word)
    }
}

/// `GET /api/v1/dead/{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetterDetail {
    /// As in the list.
    pub letter: DeadLetter,
    /// The body, as base64 (RFC 4648, section 4).
    pub base64: String,
}

impl DeadLetterDetail {
    /// The letter with this body.
    #[must_use]
    pub fn new(letter: DeadLetter, body: &[u8]) -> Self {
        Self { letter, base64: STANDARD.encode(body) }
    }

    /// The body.
    ///
    /// # Errors
    /// When it is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, base64::DecodeError> {
        STANDARD.decode(&self.base64)
    }
}
