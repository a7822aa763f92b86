//! How a program on a minion started and ended.

use aegir_protocol::record::ChildExit;

/// What the shell around a program says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteStart {
    /// There is no such program on the minion.
    Missing,
    /// There is no memory file system that the login can write to, where secrets may be.
    Nowhere,
    /// Not all of the secrets could be kept.
    Unkept,
    /// It ended with this status, as a shell counts: 128 and more for a signal.
    Ended(i32),
}

impl RemoteStart {
    /// As the shell says it.
    pub(super) fn read(word: &str) -> Option<Self> {
        match word {
            "missing" => Some(Self::Missing),
            "nowhere" => Some(Self::Nowhere),
            "unkept" => Some(Self::Unkept),
            status => status.parse().ok().map(Self::Ended),
        }
    }

    /// As a record says it. A shell does not tell a status of 128 and more from a signal; signals are by far
    /// more frequent.
    #[must_use]
    pub fn exit(self) -> ChildExit {
        match self {
            Self::Missing => ChildExit { code: Some(127), signal: None },
            Self::Nowhere | Self::Unkept => ChildExit::default(),
            Self::Ended(status @ 129..=192) => ChildExit { code: None, signal: Some(status - 128) },
            Self::Ended(status) => ChildExit { code: Some(status), signal: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_128_and_more_is_a_signal() {
        assert_eq!(RemoteStart::Ended(137).exit(), ChildExit { code: None, signal: Some(9) });
        assert_eq!(RemoteStart::Ended(3).exit(), ChildExit { code: Some(3), signal: None });
        assert_eq!(RemoteStart::Ended(255).exit(), ChildExit { code: Some(255), signal: None });
    }
}
