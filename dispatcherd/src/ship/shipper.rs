//! What all shipments share, and how one ends.

use std::path::PathBuf;

use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Unknown;
use aegir_protocol::name::FrontendName;
use aegir_protocol::record::Finished;
use aegir_service::io_error::is_transient;
use aegir_transcript::{FileWatcher, FollowError, Follower, WatchError};
use tokio_util::sync::CancellationToken;

use super::uploader::Uploader;
use super::{FrontendWindow, Upload};
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

impl Shipper {
    /// Ships a transcript until relayd has it, from its start: what relayd has already it says in its first
    /// receipt. `gone` says that no runner writes any more. May be dropped, and begun again.
    ///
    /// # Errors
    /// When the transcript can't be read, or relayd has no such attempt.
    pub async fn ship(
        &self,
        attempt: AttemptId,
        frontend: &FrontendName,
        directory: &AttemptDirectory,
        upload: &mut Upload,
        gone: &CancellationToken,
    ) -> Result<Shipped, ShipError> {
        let path = directory.transcript();
        tokio::select! {
            biased;
            found = self.watcher.wait_for_file(&path) => found?,
            () = gone.cancelled() => {
                if !path.exists() {
                    return Ok(Shipped::Nothing);
                }
            }
        }
        let follower = Follower::open(&path, 0, &self.watcher)?;
        Uploader::new(self, attempt, frontend, directory, upload, follower).run(gone).await
    }
}
