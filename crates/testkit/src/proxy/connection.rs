//! One connection from a daemon, and how it is told what to do.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use super::mode::{Mode, Side};

/// How a connection ends before its time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cut {
    Reset,
    HalfOpen { closed: Side },
}

/// One connection from a daemon, and the one to the broker that belongs to it.
#[derive(Debug)]
pub(crate) struct ProxiedConnection {
    pub(super) mode: watch::Sender<Mode>,
    pub(super) cut: watch::Sender<Option<Cut>>,
    /// The first bytes that the daemon sent.
    opening: Mutex<Vec<u8>>,
}

impl ProxiedConnection {
    /// How much of what a daemon says first is kept: protocol header, properties and login.
    const OPENING: usize = 4096;

    pub(super) fn new(mode: Mode) -> Self {
        Self { mode: watch::Sender::new(mode), cut: watch::Sender::new(None), opening: Mutex::default() }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut.send_replace(Some(Cut::Reset));
        }
    }

    pub(super) fn opened_with(&self, text: &[u8]) -> bool {
        let opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        opening.windows(text.len()).any(|part| part == text)
    }

    /// Keeps what was said, if it belongs to the opening.
    pub(crate) fn said(&self, bytes: &[u8]) {
        let mut opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let room = Self::OPENING - opening.len();
        opening.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }
}
