//! What all shipments share, and how one ends.

use std::path::PathBuf;

use aegir_protocol::message::Unknown;
use aegir_protocol::record::Finished;
use aegir_service::io_error::is_transient;
use aegir_transcript::{FileWatcher, FollowError, WatchError};

use super::frontend_window::FrontendWindow;
use crate::frontends::Frontends;

/// What all shipments share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shipper {
    pub frontends: Frontends,
    /// The window of each frontend.
    pub frontend_window: FrontendWindow,
    /// Says when transcripts grow.
    pub watcher: FileWatcher,
}

/// How a shipment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shipped {
    /// relayd has all of it.
    Complete(Finished),
    /// The runner is gone without having finished it, and relayd has every whole record.
    Unfinished,
    /// The runner is gone and has not written any.
    Nothing,
}

/// Why a transcript can't be shipped on.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// It can't be read.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// Its directory can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Its end can't be read.
    #[error("can't read the end of the transcript {}: {error}", path.display())]
    End {
        path: PathBuf,
        #[source]
        error: std::io::Error,
    },
    /// relayd takes nothing of it.
    #[error("relayd does not know this attempt: {}", .0.reason)]
    Unknown(Unknown),
}

impl ShipError {
    /// Whether it says nothing against the transcript, such as too many open files.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Follow(
                FollowError::Open { source, .. }
                | FollowError::Read { source, .. }
                | FollowError::Sync { source, .. },
            )
            | Self::End { error: source, .. } => is_transient(source),
            Self::Watch(_) | Self::Follow(FollowError::Watch { .. }) => true,
            Self::Follow(
                FollowError::NotABoundary { .. }
                | FollowError::Shrunk { .. }
                | FollowError::RecordTooLong { .. },
            )
            | Self::Unknown(_) => false,
        }
    }
}
