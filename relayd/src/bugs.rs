//! Bugs on purpose, so that it can be shown that `cargo xtask chaos` finds them. They are compiled in by the feature
//! `chaos-bugs`, which nothing that is shipped has, and woken by the name of one in `AEGIR_CHAOS_BUG`.

use std::sync::OnceLock;

/// The variable that names the bug.
const VARIABLE: &str = "AEGIR_CHAOS_BUG";

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Chunks are receipted, and committed only with what is stored next, or a moment later.
    AcknowledgeBeforeCommit,
    /// One byte of a transcript is stored as another one, after its digest was found right.
    SkipTheDigest,
    /// An Operation is published twice, and everybody who claims it is granted it.
    GrantTwice,
    /// The end of a lease counts although the lease was renewed.
    ForgetTheLease,
}

impl Bug {
    const ALL: [(Self, &'static str); 4] = [
        (Self::AcknowledgeBeforeCommit, "acknowledge-before-commit"),
        (Self::SkipTheDigest, "skip-the-digest"),
        (Self::GrantTwice, "grant-twice"),
        (Self::ForgetTheLease, "forget-the-lease"),
    ];

    /// Whether this one was asked for.
    #[must_use]
    pub fn is_awake(self) -> bool {
        static AWAKE: OnceLock<Option<Bug>> = OnceLock::new();
        let awake = AWAKE.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok()?;
            Self::ALL.into_iter().find(|(_, word)| *word == name).map(|(bug, _)| bug)
        });
        *awake == Some(self)
    }
}

/// The bytes of a chunk as [`Bug::SkipTheDigest`] stores them: those of long ones with one bit changed.
#[must_use]
pub fn damaged(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if Bug::SkipTheDigest.is_awake() && bytes.len() > 4096 {
        bytes[middle] ^= 1;
    }
    bytes
}
