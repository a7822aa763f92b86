//! Publishing with confirms.
//!
//! [`Publisher::send`] hands a message over and [`PendingConfirm::confirmed`] tells what became of it, so that one task
//! keeps many messages in flight, in order. [`Publisher::publish`] does both.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

pub use crate::outgoing::{Outgoing, PublishError};
use crate::outgoing::{PreparedMessage, WINDOW};
use crate::publish::PublishJob;
use crate::status::Status;

/// Publishes to the broker. Cheap to clone; all clones share one window of unconfirmed messages.
#[derive(Clone, Debug)]
pub struct Publisher {
    window: Arc<Semaphore>,
    line: watch::Receiver<Option<mpsc::Sender<PublishJob>>>,
    status: watch::Receiver<Status>,
    limit: Duration,
}

impl Publisher {
    pub(crate) fn new(
        line: watch::Receiver<Option<mpsc::Sender<PublishJob>>>,
        status: watch::Receiver<Status>,
        limit: Duration,
    ) -> Self {
        Self { window: Arc::new(Semaphore::new(WINDOW)), line, status, limit }
    }

    /// Publishes a message and waits until the broker has taken responsibility for it.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub async fn publish(&self, outgoing: Outgoing) -> Result<(), PublishError> {
        self.send(outgoing).await?.confirmed().await
    }

    /// Hands a message over. Messages that one task hands over one after the other are published in that order;
    /// each later waits for its own confirm, in any order. Waits while the window is full.
    ///
    /// The time for the confirm runs from here.
    ///
    /// # Errors
    ///
    /// Those of [`PublishError`] that mean that the message was not sent.
    pub async fn send(&self, outgoing: Outgoing) -> Result<PendingConfirm, PublishError> {
        self.send_prepared(outgoing.try_into()?).await
    }

    pub(crate) async fn send_prepared(
        &self,
        prepared: PreparedMessage,
    ) -> Result<PendingConfirm, PublishError> {
        let deadline = Instant::now() + self.limit;
        // Looked at before waiting for the window, which does not move while the broker is blocked or away.
        self.ready()?;
        let permits = Arc::clone(&self.window).acquire_many_owned(prepared.weight());
        let Ok(permit) = timeout_at(deadline, permits).await else {
            return Err(late(&self.status));
        };
        // Nobody closes the semaphore.
        let permit = permit.map_err(|_| PublishError::NotConnected)?;
        // The session may be another one by now.
        let line = self.ready()?;
        let (outcome, receiver) = oneshot::channel();
        line.send(PublishJob { prepared, permit, outcome }).await.map_err(|_| PublishError::NotConnected)?;
        Ok(PendingConfirm { outcome: receiver, deadline, status: self.status.clone() })
    }

    /// The way to the session, if there is one and the broker takes messages.
    fn ready(&self) -> Result<mpsc::Sender<PublishJob>, PublishError> {
        if let Status::Blocked { reason } = &*self.status.borrow() {
            return Err(PublishError::Blocked { reason: reason.clone() });
        }
        self.line.borrow().clone().ok_or(PublishError::NotConnected)
    }
}

/// A message on its way.
#[derive(Debug)]
#[must_use = "the outcome of a publish is only known from its confirm"]
pub struct PendingConfirm {
    outcome: oneshot::Receiver<Result<(), PublishError>>,
    deadline: Instant,
    status: watch::Receiver<Status>,
}

impl PendingConfirm {
    /// Waits until the broker has taken responsibility for the message.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub async fn confirmed(self) -> Result<(), PublishError> {
        match timeout_at(self.deadline, self.outcome).await {
            Ok(Ok(outcome)) => outcome,
            // The session went away with the other end.
            Ok(Err(_)) => Err(PublishError::Lost),
            Err(_) => Err(late(&self.status)),
        }
    }
}

fn late(status: &watch::Receiver<Status>) -> PublishError {
    match &*status.borrow() {
        Status::Blocked { reason } => PublishError::Blocked { reason: reason.clone() },
        Status::Connecting { .. }
        | Status::Up
        | Status::Silent { .. }
        | Status::Mismatch { .. }
        | Status::Stopped => PublishError::TimedOut,
    }
}
