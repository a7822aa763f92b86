//! Why a Task fails.

use std::io;
use std::path::{Path, PathBuf};

/// Why a Task fails. Where the message begins with a word of `docs/reference/errors.md` and a colon, that is its reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The Task on standard input.
    #[error("can't take the Task: {0}")]
    Input(String),
    /// Descriptor 3.
    #[error(
        "can't speak on descriptor 3: this is a plug-in runner, to be started by dispatcherd or `aegir runner check`"
    )]
    Lines(#[source] io::Error),
    /// Signals.
    #[error("can't take signals")]
    Signals(#[source] io::Error),
    /// What the role's manifest says under `with`, or a file of the role.
    #[error("the role is wrong: {0}")]
    Role(String),
    /// Something on this machine.
    #[error("can't use {path}")]
    File { path: PathBuf, source: io::Error },
    /// The program that does the work.
    #[error("can't find the program {program:?}: {advice}")]
    Missing {
        program: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// The system refused to start it.
    #[error("can't start {program:?}")]
    Start { program: String, source: io::Error },
    /// It ended with a failure.
    #[error("{program} ended with {how}: {said}{advice}")]
    Program {
        program: String,
        /// Its exit code or signal.
        how: String,
        /// The end of its standard error.
        said: String,
        /// What to do about it, after a full stop; or nothing.
        advice: &'static str,
    },
    /// What it printed is not what it should be.
    #[error("can't understand what {program} answers to {asked:?}: {problem}")]
    Answer {
        program: String,
        /// Its first arguments.
        asked: String,
        /// What is wrong.
        problem: String,
    },
    /// The Task was called off.
    #[error("it was canceled")]
    Interrupted,
    /// What an operator approved is not what would be done.
    #[error(
        "plan_changed: what is there, or what is to be there, is no longer what the approved plan was made of. Nothing was \
         changed: have a new plan made and approved"
    )]
    PlanChanged,
    /// Nothing more is to be done until somebody has looked.
    #[error("attention_needed: {0}")]
    LookFirst(String),
    /// What must not be done, or must not be there.
    #[error("{0}")]
    Refused(String),
    /// After it was stopped.
    #[error("{0}")]
    GoesOn(String),
}

impl Error {
    /// For `map_err` of what is done with a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::File { path: path.to_owned(), source }
    }
}

/// An error and what it came from, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
