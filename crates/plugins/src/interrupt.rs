//! What the plug-in does on SIGINT.
//!
//! dispatcherd sends SIGINT and later SIGTERM to the whole process group. `tofu` ends in good order then, which takes a while;
//! this program must outlive it, for what is left of the group when it ends is killed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;

/// How many signals have come.
static CANCELED: AtomicUsize = AtomicUsize::new(0);

/// Takes the signals from now on: they end nothing but the programs that were started.
pub(crate) fn watch() -> Result<(), Error> {
    let (ready, is_ready) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error))),
        };
        runtime.block_on(async {
            let signals =
                signal(SignalKind::interrupt()).and_then(|int| Ok((int, signal(SignalKind::terminate())?)));
            let (mut interrupt, mut terminate) = match signals {
                Ok(signals) => signals,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                CANCELED.fetch_add(1, Ordering::SeqCst);
            }
        });
    });
    let broken = std::io::ErrorKind::BrokenPipe;
    is_ready.recv().unwrap_or_else(|_| Err(broken.into())).map_err(Error::Signals)
}

/// An error once the Task was called off.
pub(crate) fn check() -> Result<(), Error> {
    if CANCELED.load(Ordering::SeqCst) > 0 { Err(Error::Interrupted) } else { Ok(()) }
}

/// Whether it was called off more than once: `tofu` waits for nothing then.
pub(crate) fn canceled_twice() -> bool {
    CANCELED.load(Ordering::SeqCst) > 1
}
