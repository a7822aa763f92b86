//! What a plug-in is told to do.

use aegir_catalog::runner::Verb;
use clap::ValueEnum;

/// What is to be done; dispatcherd puts it at the end of the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum VerbArgument {
    /// Say what apply would change, and change nothing
    Plan,
    /// Bring it about
    Apply,
    /// Take it away
    Delete,
    /// Say whether anything goes on that an ended apply or delete has begun
    Cancel,
}

impl From<VerbArgument> for Verb {
    fn from(verb: VerbArgument) -> Self {
        match verb {
            VerbArgument::Plan => Self::Plan,
            VerbArgument::Apply => Self::Apply,
            VerbArgument::Delete => Self::Delete,
            VerbArgument::Cancel => Self::Cancel,
        }
    }
}
