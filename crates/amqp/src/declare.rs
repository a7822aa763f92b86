//! Declaring at run time: what is asked of the supervisor, and what it answers.

use tokio::sync::oneshot;

use crate::topology::Topology;

/// Why something could not be declared at run time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclareError {
    /// It exists with other arguments. It is not remembered.
    #[error("{object} exists with other arguments: {error}")]
    Mismatch {
        /// Which queue or exchange.
        object: String,
        /// What the broker says, and what to do.
        error: String,
    },
    /// The broker does not allow it. It is not remembered.
    #[error("the broker refused to declare {object}: {error}")]
    Refused {
        /// Which queue, exchange or binding.
        object: String,
        /// What the broker says.
        error: String,
    },
    /// Somebody deleted a part of it meanwhile. It is remembered, and declared again when a message misses it.
    #[error("a part of {object} was deleted while it was declared: {error}")]
    Deleted {
        /// Which queue, exchange or binding.
        object: String,
        /// What the broker says.
        error: String,
    },
    /// The session ended meanwhile. It is remembered and declared in the next.
    #[error("the session ended while it declared: {0}")]
    Lost(String),
    /// The link was stopped, or is stuck in an attempt to connect.
    #[error("the link does not answer: it was stopped, or the broker does not answer")]
    Unanswered,
}

/// A topology to declare at run time, and who waits for it.
#[derive(Debug)]
pub(crate) struct DeclareRequest {
    pub(crate) topology: Topology,
    pub(crate) answer: oneshot::Sender<Result<(), DeclareError>>,
}
