//! What Ansible Vault decrypts in a Task is a secret from then on. The plug-in `vars_plugins/aegir_vault.py` says it over a
//! unix socket, a JSON text on a line in a connection of its own, and waits for the answer before Ansible goes on: so it is
//! known here before anything can show it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use super::recorder::Recorder;

/// The longest line that is taken, in bytes; the plug-in's own limit is below that.
const LONGEST_LINE: u64 = 2 * 1024 * 1024;
/// How long one may take to arrive. Who sends it has it already.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// How long nobody is listened to when that failed, as without free file descriptors.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);

/// Where the plug-in says what was decrypted.
#[derive(Debug)]
pub(super) struct Decrypted(UnixListener);

impl Decrypted {
    /// Listens at a path, which must be shorter than 108 bytes.
    ///
    /// # Errors
    /// When it can't.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        UnixListener::bind(path).map(Self)
    }

    /// Masks whatever is decrypted, until it is dropped.
    pub(super) async fn mask(&self, recorder: &RefCell<Recorder>) -> Infallible {
        loop {
            let Ok((connection, _)) = self.0.accept().await else {
                sleep(LISTEN_AGAIN).await;
                continue;
            };
            match timeout(ARRIVES_WITHIN, take(connection, recorder)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "what Vault decrypted was not learned"),
                Err(_) => tracing::warn!("what Vault decrypted did not arrive"),
            }
        }
    }
}

async fn take(connection: UnixStream, recorder: &RefCell<Recorder>) -> io::Result<()> {
    let mut line = Vec::new();
    let mut connection = BufReader::new(connection);
    (&mut connection).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
    let secret: String = serde_json::from_slice(&line)?;
    recorder.borrow_mut().mask_from_now_on(&secret).map_err(io::Error::other)?;
    connection.write_all(b"\n").await
}
