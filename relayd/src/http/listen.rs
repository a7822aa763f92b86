//! Where relayd answers: a TCP address and, if wanted, a unix socket.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionLimits};
use super::router::router;
use crate::services::RelayServices;

/// How long requests that are in progress may take once relayd stops.
const DRAIN: Duration = Duration::from_secs(1);

/// relayd can't listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not on that address.
    #[error("can't listen on {address} ([http] listen): {error}; does another program use it?")]
    Tcp {
        address: SocketAddr,
        #[source]
        error: io::Error,
    },
    /// Not on that socket.
    #[error("can't listen on {path} ([http] socket): {error}")]
    Unix {
        path: PathBuf,
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
pub async fn serve(
    listeners: Listeners,
    services: RelayServices,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let router = router(services, stop.clone());
    let Listeners { tcp, unix } = listeners;
    // An event must not wait for the one before it to be acknowledged.
    let tcp = tcp.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY can't be set");
        }
    });
    let over_tcp = accept(tcp, router.clone(), limits, stop.clone());
    let serving = async {
        match unix {
            None => over_tcp.await,
            Some((listener, path)) => {
                tokio::join!(over_tcp, accept(listener, router, limits, stop.clone()));
                let _ = tokio::fs::remove_file(&path).await;
            }
        }
    };
    let deadline = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = serving => {}
        () = deadline => tracing::info!("requests that were still in progress are left"),
    }
}

/// Accepts connections until `stop`, and waits for those that are open. When there are as many as there may be, further
/// ones wait in the system's queue: who holds the others up is a slow client, and its time is limited.
async fn accept<L: Listener>(
    mut listener: L,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    let mut was_full = false;
    loop {
        let is_full = permits.available_permits() == 0;
        if is_full && !was_full {
            tracing::warn!(
                connections = limits.connections,
                "no more connections are taken until one ends ([http] max_connections)"
            );
        }
        was_full = is_full;
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&permits).acquire_owned() => permit.expect("nobody closes it"),
        };
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (router, stop) = (router.clone(), stop.clone());
        open.spawn(async move {
            connection::answer(stream, router, limits, stop).await;
            drop(permit);
        });
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}
