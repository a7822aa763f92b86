//! Where relayd answers: a TCP address and, if wanted, a unix socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::serve::ListenerExt as _;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::relay::Relay;

/// How long requests that are in progress may take once relayd stops.
const DRAIN: Duration = Duration::from_secs(1);

/// relayd can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not on that address.
    #[error("can't listen on {address} ([http] listen): {error}; does another program use it?")]
    Tcp {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Not on that socket.
    #[error("can't listen on {path} ([http] socket): {error}")]
    Unix {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// What relayd listens on.
#[derive(Debug)]
pub struct Listeners {
    tcp: TcpListener,
    unix: Option<(UnixListener, PathBuf)>,
}

impl Listeners {
    /// Opens them. A socket that a killed relayd left behind is replaced; one that somebody answers on is not.
    ///
    /// # Errors
    /// When one of them can't be opened.
    pub async fn bind(listen: SocketAddr, socket: Option<&Path>) -> Result<Self, ListenError> {
        let tcp =
            TcpListener::bind(listen).await.map_err(|error| ListenError::Tcp { address: listen, error })?;
        let unix = match socket {
            Some(path) => {
                let listener = bind_socket(path)
                    .await
                    .map_err(|error| ListenError::Unix { path: path.to_owned(), error })?;
                Some((listener, path.to_owned()))
            }
            None => None,
        };
        Ok(Self { tcp, unix })
    }

    /// The TCP address; its port is the real one where 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

async fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    let is_socket = tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another program answers there"));
        }
        tokio::fs::remove_file(path).await?;
    }
    let listener = UnixListener::bind(path)?;
    // Whoever connects must show the token all the same; the mode keeps others from trying.
    tokio::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).await?;
    Ok(listener)
}

/// Answers until `stop`, and then for a second more what was in progress.
///
/// # Errors
/// When a listener fails for good.
pub async fn serve(listeners: Listeners, relay: Relay, stop: CancellationToken) -> io::Result<()> {
    let router = super::router(relay, stop.clone());
    let Listeners { tcp, unix } = listeners;
    // An event must not wait for the one before it to be acknowledged.
    let tcp = tcp.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
    });
    let over_tcp = axum::serve(tcp, router.clone()).with_graceful_shutdown(stop.clone().cancelled_owned());
    let serving = async {
        match unix {
            None => over_tcp.await,
            Some((listener, path)) => {
                let over_unix =
                    axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
                let ended = tokio::try_join!(over_tcp.into_future(), over_unix.into_future());
                let _ = tokio::fs::remove_file(&path).await;
                ended.map(|_| ())
            }
        }
    };
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = serving => ended,
        () = deadline => {
            tracing::info!("requests that were still in progress are left");
            Ok(())
        }
    }
}
