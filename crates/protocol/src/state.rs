//! Where an Operation stands, and how it can end.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $type { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }

        impl $type {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word that stands for it in messages, tables and on the command line.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value that a word stands for.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words!(
    /// Where an Operation stands. `silent` is not among them: it is said beside `claimed` and `running`
    /// while its node is not heard of, and is not an end.
    State {
        /// For locks, a pause or an approval.
        Waiting = "waiting",
        /// For a node: published, or about to be.
        Queued = "queued",
        /// A node has it and is about to start.
        Claimed = "claimed",
        /// Its runner has started.
        Running = "running",
        /// Every Task did what it should.
        Succeeded = "succeeded",
        /// A Task did not.
        Failed = "failed",
        /// Somebody called it off.
        Canceled = "canceled",
        /// The backend could not make Tasks of it; nothing ran.
        Rejected = "rejected",
        /// What became of it can't be known any more.
        Lost = "lost",
    }
);

words!(
    /// How an attempt ended.
    Outcome {
        /// Every Task did what it should.
        Succeeded = "succeeded",
        /// A Task did not.
        Failed = "failed",
        /// Somebody called it off.
        Canceled = "canceled",
        /// The backend could not make Tasks of it; nothing ran.
        Rejected = "rejected",
        /// What became of it can't be known any more.
        Lost = "lost",
    }
);

impl State {
    /// How it ended, if it has.
    #[must_use]
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Waiting | Self::Queued | Self::Claimed | Self::Running => None,
            Self::Succeeded => Some(Outcome::Succeeded),
            Self::Failed => Some(Outcome::Failed),
            Self::Canceled => Some(Outcome::Canceled),
            Self::Rejected => Some(Outcome::Rejected),
            Self::Lost => Some(Outcome::Lost),
        }
    }
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Canceled => Self::Canceled,
            Outcome::Rejected => Self::Rejected,
            Outcome::Lost => Self::Lost,
        }
    }
}

/// Why something is as it is: a stable code for programs, a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// One of the codes of [`crate::code::Code`]; a newer peer may send one that is not known here.
    pub code: String,
    /// What happened, to what, and what to do next.
    pub message: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}
