//! Starts the uploader when a transcript appears, and begins again after a fault.

use aegir_attempt::AttemptDirectory;
use aegir_protocol::id::AttemptId;
use aegir_protocol::name::FrontendName;
use aegir_transcript::Follower;
use tokio_util::sync::CancellationToken;

use super::shipper::{ShipError, Shipped, Shipper};
use super::uploader::Uploader;
use super::uploads::Upload;

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
