//! Where a session stands.

use std::fmt;

/// Where the session stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// There is no session; one is being made or the next attempt is waited for.
    Connecting {
        /// How many attempts have failed since the last session.
        attempt: u32,
        /// Why the last session ended or the last attempt failed.
        last_error: Option<String>,
    },
    /// Connected, declared, consuming.
    Up,
    /// As [`Up`](Self::Up), but a probe that was sent through the broker has not come back. If nothing does for
    /// once more as long, the session is made anew.
    Silent {
        /// What was not heard, and what to do about it.
        reason: String,
    },
    /// As [`Up`](Self::Up), but the broker takes no messages.
    Blocked {
        /// What the broker says: "low on memory", "low on disk".
        reason: String,
    },
    /// Something on the broker has other arguments than what we declare. Tried again slowly.
    Mismatch {
        /// Which queue or exchange.
        object: String,
        /// What the broker says, and what to do.
        error: String,
    },
    /// The link was cancelled.
    Stopped,
}

impl Status {
    /// Every [`word`](Self::word), for metrics.
    pub const WORDS: [&'static str; 6] = ["connecting", "up", "silent", "blocked", "mismatch", "stopped"];

    /// Whether messages can be published and are delivered, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        match self {
            Self::Up | Self::Silent { .. } => true,
            Self::Connecting { .. } | Self::Blocked { .. } | Self::Mismatch { .. } | Self::Stopped => false,
        }
    }

    /// The status in one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Connecting { .. } => "connecting",
            Self::Up => "up",
            Self::Silent { .. } => "silent",
            Self::Blocked { .. } => "blocked",
            Self::Mismatch { .. } => "mismatch",
            Self::Stopped => "stopped",
        }
    }
}

/// For people: what is the matter, and why.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("connected to the broker"),
            Self::Connecting { last_error: None, .. } => f.write_str("connecting to the broker"),
            Self::Connecting { attempt, last_error: Some(error) } => {
                let attempts = if *attempt == 1 { "attempt" } else { "attempts" };
                write!(f, "not connected to the broker ({attempt} {attempts} failed): {error}")
            }
            Self::Silent { reason } => write!(f, "the broker is silent: {reason}"),
            Self::Blocked { reason } => write!(f, "the broker takes no messages: {reason}"),
            Self::Mismatch { object, error } => {
                write!(f, "{object} on the broker is not as it should be: {error}")
            }
            Self::Stopped => f.write_str("disconnected from the broker"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_word_and_says_its_cause() {
        let why = || "why".to_owned();
        let all = [
            Status::Connecting { attempt: 2, last_error: Some(why()) },
            Status::Up,
            Status::Silent { reason: why() },
            Status::Blocked { reason: why() },
            Status::Mismatch { object: "queue q".to_owned(), error: why() },
            Status::Stopped,
        ];
        assert_eq!(all.each_ref().map(Status::word), Status::WORDS);
        let causes = all.iter().filter(|status| status.to_string().contains("why"));
        assert_eq!(causes.count(), 4);
    }
}
