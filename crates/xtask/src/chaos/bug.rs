//! relayd with a bug on purpose, to show that the checker finds it.

use std::path::PathBuf;

use crate::workspace;

/// Names the bug to a relayd that was built with the feature `chaos-bugs`.
pub(super) const VARIABLE: &str = "AEGIR_CHAOS_BUG";

/// The bugs that `relayd/src/bugs.rs` describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Bug {
    /// relayd answers for what it commits later
    AcknowledgeBeforeCommit,
    /// relayd stores a byte that is not the one that came
    SkipTheDigest,
    /// relayd publishes twice and grants everybody
    GrantTwice,
    /// relayd gives up attempts whose lease was renewed
    ForgetTheLease,
}

impl Bug {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::AcknowledgeBeforeCommit => "acknowledge-before-commit",
            Self::SkipTheDigest => "skip-the-digest",
            Self::GrantTwice => "grant-twice",
            Self::ForgetTheLease => "forget-the-lease",
        }
    }
}

/// Where daemons with bugs are built, far from those without.
fn target() -> PathBuf {
    workspace::target().join("chaos-bugs")
}

/// Builds daemons, and gives the directory that they are in.
pub(super) fn build(with_bugs: bool) -> anyhow::Result<PathBuf> {
    let mut command = workspace::command(&["build", "--workspace", "--bins"]);
    let target = if with_bugs { target() } else { workspace::target() };
    if with_bugs {
        command.args(["--features", "relayd/chaos-bugs", "--target-dir"]).arg(&target);
    }
    workspace::run(command)?;
    Ok(target.join("debug"))
}
