//! What a daemon tells systemd.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// The interval of the watchdog, as `WATCHDOG_USEC` wants it.
pub(super) const WATCHDOG_MICROSECONDS: &str = "3000000";
/// How often the listener looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A socket that listens as systemd does, in a thread of its own: what nobody reads would hold up the daemon.
#[derive(Debug)]
pub(super) struct Notifications {
    path: PathBuf,
    heard: Arc<Mutex<Heard>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Heard {
    ready: bool,
    status: String,
    watchdogs: u64,
}

impl Notifications {
    /// Listens at this path, which an earlier one may have left.
    pub(super) fn listen(path: &Path) -> anyhow::Result<Self> {
        if path.exists() {
            std::fs::remove_file(path).context("cannot remove the old notification socket")?;
        }
        let socket = UnixDatagram::bind(path).context("cannot make the notification socket")?;
        socket.set_read_timeout(Some(LOOK)).context("cannot make the notification socket")?;
        let (heard, stop) = (Arc::<Mutex<Heard>>::default(), Arc::<AtomicBool>::default());
        let (hear, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        let listen = move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut message = [0; 4096];
                match socket.recv(&mut message) {
                    Ok(length) => lock(&hear).take(&String::from_utf8_lossy(&message[..length])),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("notifications".to_owned()).spawn(listen)?;
        Ok(Self { path: path.to_owned(), heard, stop, thread: Some(thread) })
    }

    /// For `NOTIFY_SOCKET`.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it said that it is ready.
    pub(super) fn is_ready(&self) -> bool {
        lock(&self.heard).ready
    }

    /// Its last status line.
    pub(super) fn status(&self) -> String {
        lock(&self.heard).status.clone()
    }

    /// How often it has fed the watchdog.
    pub(super) fn watchdogs(&self) -> u64 {
        lock(&self.heard).watchdogs
    }
}

impl Drop for Notifications {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Heard {
    fn take(&mut self, message: &str) {
        for line in message.lines() {
            match line.split_once('=') {
                Some(("READY", "1")) => self.ready = true,
                Some(("STATUS", status)) => status.clone_into(&mut self.status),
                Some(("WATCHDOG", "1")) => self.watchdogs += 1,
                Some(_) | None => {}
            }
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    // Each change of it is whole.
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
