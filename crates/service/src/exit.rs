//! How the programs end: one table of exit codes for `relayd`, `dispatcherd` and `aegir`.
//!
//! A script can tell an Operation that failed from a broker that is away. 2 is what clap gives for a command
//! line that it does not understand; 128 and more are signals.

use std::process::{ExitCode, Termination};

use aegir_protocol::state::Outcome;

use crate::config::ConfigError;
use crate::directory::DirectoryError;

macro_rules! exits {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $word:literal, $meaning:literal;)+) => {
        /// An exit code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Exit { $($(#[doc = $doc])+ $variant),+ }

        impl Exit {
            /// Every exit code, in order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number.
            #[must_use]
            pub fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The word for it, as in the documentation.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// What it means, and what to do.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

exits! {
    /// All is well.
    Success = 0, "success", "The command succeeded; with --follow, so did the Operation.";
    /// An Operation failed.
    Failed = 1, "failed", "The Operation failed; its log says where and why.";
    /// The command line makes no sense.
    Usage = 2, "usage", "The command line is not valid; see --help.";
    /// An Operation was called off.
    Canceled = 3, "canceled", "The Operation was canceled.";
    /// A request or an Operation was refused.
    Rejected = 4, "rejected", "relayd or the backend refused the request, and nothing ran; the message names the field.";
    /// An Operation was lost.
    Lost = 5, "lost", "The outcome of the Operation is not known; look at its target before you try again.";
    /// relayd does not answer.
    RelaydUnreachable = 10, "relayd_unreachable", "aegir can't reach relayd; check that it runs and that the address is right.";
    /// relayd refuses the token.
    TokenRefused = 11, "token_refused", "relayd refused the token; the right one is in the file api-token in relayd's state directory.";
    /// There is no such thing.
    NotFound = 12, "not_found", "There is no such Operation, role, document or dead letter.";
    /// A part of the way is closed.
    Unavailable = 13, "unavailable", "The store, the broker, the backend or a minion is not available; the output names it.";
    /// It does not go with what is there.
    Conflict = 14, "conflict", "The request conflicts with the present state: the Operation has already ended, the idempotency key belongs to another request, or a dead letter can't be replayed.";
    /// The config file is not valid.
    ConfigInvalid = 20, "config_invalid", "The config file, or a file that it names, is not valid; the message says where.";
    /// Another daemon uses the state directory.
    StateDirectoryInUse = 21, "state_directory_in_use", "Another daemon uses the state directory; stop it, or configure another directory.";
    /// The state directory can't be written.
    StateDirectoryUnwritable = 22, "state_directory_unwritable", "The state or runtime directory can't be written, or its file system is full.";
    /// Something that should not happen.
    Internal = 70, "internal", "An error that should not happen; please report it with the log.";
}

impl Exit {
    /// The table for the documentation, in Markdown.
    #[must_use]
    pub fn table() -> String {
        let head = "| code | name | meaning |\n|---|---|---|\n".to_owned();
        Self::ALL.iter().fold(head, |table, exit| {
            table + &format!("| {} | `{}` | {} |\n", exit.code(), exit.as_str(), exit.meaning())
        })
    }

    /// For an answer of relayd's API, by its HTTP status. Statuses rather than the codes of problems, because
    /// a newer relayd may send a code that is not known here.
    #[must_use]
    pub fn from_status(status: u16) -> Self {
        match status {
            200..400 => Self::Success,
            401 | 403 => Self::TokenRefused,
            404 | 410 => Self::NotFound,
            409 => Self::Conflict,
            429 | 502..505 => Self::Unavailable,
            400..500 => Self::Rejected,
            _ => Self::Internal,
        }
    }
}

impl From<Outcome> for Exit {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Success,
            Outcome::Failed => Self::Failed,
            Outcome::Canceled => Self::Canceled,
            Outcome::Rejected => Self::Rejected,
            Outcome::Lost => Self::Lost,
        }
    }
}

impl From<&ConfigError> for Exit {
    fn from(error: &ConfigError) -> Self {
        match error {
            ConfigError::Missing { .. }
            | ConfigError::Unreadable { .. }
            | ConfigError::Invalid { .. }
            | ConfigError::Unusable { .. } => Self::ConfigInvalid,
        }
    }
}

impl From<&DirectoryError> for Exit {
    fn from(error: &DirectoryError) -> Self {
        match error {
            DirectoryError::InUse { .. } => Self::StateDirectoryInUse,
            DirectoryError::Unwritable { .. } | DirectoryError::Full { .. } => Self::StateDirectoryUnwritable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_words_are_unique_and_below_the_signals() {
        for (index, exit) in Exit::ALL.iter().enumerate() {
            assert!(exit.code() < 126, "{exit:?}: a shell gives 126 and more a meaning of its own");
            assert!(exit.meaning().ends_with('.'));
            for other in &Exit::ALL[..index] {
                assert!(other.code() < exit.code() && other.as_str() != exit.as_str(), "{exit:?}");
            }
        }
    }

    #[test]
    fn the_table_has_a_row_for_each() {
        let table = Exit::table();
        assert_eq!(table.lines().count(), Exit::ALL.len() + 2);
        assert!(table.contains("\n| 3 | `canceled` | The Operation was canceled. |\n"), "{table}");
    }

    #[test]
    fn statuses_map_to_codes() {
        for (status, exit) in [
            (201, Exit::Success),
            (401, Exit::TokenRefused),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (422, Exit::Rejected),
            (413, Exit::Rejected),
            (500, Exit::Internal),
            (503, Exit::Unavailable),
        ] {
            assert_eq!(Exit::from_status(status), exit, "{status}");
        }
    }
}
