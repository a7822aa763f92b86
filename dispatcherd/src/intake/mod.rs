//! Taking Operations from the broker into the journal.
//!
//! A delivery is acknowledged when it is on the disk, and never given back: from then on it is this node's.
//! All that relayd hands out at once may wait here, so that nothing urgent is held up in the queue behind the rest. A relayd
//! that hands out more than that finds the intake closed, and others of the backend get the rest.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::{ConsumeControl, Deliveries, Delivery};
use aegir_catalog::Catalog;
use aegir_protocol::code::Code;
use aegir_protocol::message;
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_protocol::operation::Operation;
use aegir_protocol::state::Reason;
use tokio::sync::watch;

use crate::journal::{Arrival, Taken};
use crate::node::Node;
use crate::slots::{Occupancy, SlotEvent};
use crate::spool::Level;

/// How long after a failed write it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What is taken.
#[derive(Clone, Debug)]
pub struct Scope {
    /// For which backend.
    pub backend: BackendName,
    /// From which frontends.
    pub frontends: Vec<FrontendName>,
}

impl Scope {
    /// The Operation in a message, or the code and the reason with which it is buried.
    fn read(&self, body: &[u8]) -> Result<Operation, (Code, String)> {
        let operation: Operation =
            message::decode(body).map_err(|error| (error.code(), error.to_string()))?;
        if operation.backend != self.backend {
            let reason = format!("it is for backend {}, this is {}", operation.backend, self.backend);
            return Err((Code::MessageMisplaced, reason));
        }
        if !self.frontends.contains(&operation.frontend) {
            let reason = format!(
                "it comes from frontend {}, which is not among `frontends` in dispatcherd's config: add it and \
                 publish the message again",
                operation.frontend
            );
            return Err((Code::MessageMisplaced, reason));
        }
        Ok(operation)
    }
}

/// How many Operations may wait on a node: as many as every frontend's relayd hands out for its slots, urgent ones
/// included.
#[must_use]
pub fn max_waiting(slots: usize, frontends: usize) -> usize {
    const FOR_EACH_SLOT: usize = 4;
    FOR_EACH_SLOT.saturating_mul(slots).saturating_mul(frontends.max(1))
}

/// When to stop consuming, and when to go on.
#[derive(Clone, Copy, Debug)]
struct Gate {
    max_waiting: usize,
}

impl Gate {
    /// Whether the intake is to be closed, given that it is or is not.
    fn closed(self, closed: bool, waiting: usize) -> bool {
        waiting >= if closed { self.max_waiting - self.max_waiting / 4 } else { self.max_waiting }
    }
}

/// Why nothing is taken, whatever waits here.
fn closed(draining: bool, no_roles: bool, spool: Level) -> Option<Reason> {
    if no_roles {
        return Some(
            Code::DiskFull.because("the roles can't be read or copied because the disk is full: make room, and see dispatcherd's log"),
        );
    }
    if draining {
        return Some(
            Code::Draining.because("an operator drains this node; `dispatcherd drain --undo` ends that"),
        );
    }
    match spool {
        Level::Open => None,
        Level::Closed => {
            Some(Code::SpoolFull.because("the spool is full: relayd has received too little of it"))
        }
        Level::Full => Some(Code::SpoolFull.because("the spool is full, and running programs wait")),
    }
}

/// The intake, ready to run.
#[derive(Debug)]
pub struct Intake {
    /// What it is part of.
    pub node: Arc<Node>,
    /// What is taken.
    pub scope: Scope,
    /// How many may wait here.
    pub max_waiting: usize,
    pub deliveries: Deliveries,
    /// Stops the deliveries.
    pub control: ConsumeControl,
    /// How many wait.
    pub occupancy: watch::Receiver<Occupancy>,
    /// Whether there is one.
    pub catalog: watch::Receiver<Option<Arc<Catalog>>>,
    /// How full the spool is.
    pub spool: watch::Receiver<Level>,
    /// Why nothing is taken, when that is so.
    pub closed: watch::Sender<Option<Reason>>,
}

impl Intake {
    /// Takes Operations until the node stops.
    pub async fn run(mut self) {
        let cancel = self.node.cancel.clone();
        let _ = cancel.run_until_cancelled(self.take_all()).await;
    }

    async fn take_all(&mut self) {
        loop {
            self.regulate();
            tokio::select! {
                delivery = self.deliveries.recv() => match delivery {
                    Some(delivery) => self.take(delivery).await,
                    None => return,
                },
                changed = self.occupancy.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = self.catalog.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = self.spool.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn regulate(&mut self) {
        let (waiting, draining) = {
            let occupancy = self.occupancy.borrow_and_update();
            (occupancy.waiting.len() + occupancy.claiming.len(), occupancy.draining)
        };
        let no_roles = self.catalog.borrow_and_update().is_none();
        let closed = closed(draining, no_roles, *self.spool.borrow_and_update());
        let is = self.control.is_paused();
        let should = closed.is_some() || Gate { max_waiting: self.max_waiting }.closed(is, waiting);
        self.say(closed);
        if should && !is {
            tracing::debug!(waiting, "enough Operations wait here; no more are taken for now");
            self.control.pause();
        } else if is && !should {
            self.control.resume();
        }
    }

    fn say(&self, closed: Option<Reason>) {
        self.closed.send_if_modified(|said| {
            let news = *said != closed;
            *said = closed;
            news
        });
    }

    async fn take(&mut self, first: Delivery) {
        let mut batch = vec![first];
        while let Some(next) = self.deliveries.try_recv() {
            batch.push(next);
        }
        let mut good = Vec::with_capacity(batch.len());
        for delivery in batch {
            let body = delivery.body();
            match self.scope.read(&body) {
                Ok(operation) => good.push((delivery, operation, body)),
                Err((code, reason)) => self.dead_letter(delivery, code, reason),
            }
        }
        if good.is_empty() {
            return;
        }
        let arrivals: Vec<_> = good
            .iter()
            .map(|(_, operation, bytes)| Arrival { attempt: operation.attempt_id(), bytes: bytes.clone() })
            .collect();
        let taken = self.journal(arrivals).await;
        for ((delivery, operation, _), taken) in good.into_iter().zip(taken) {
            let attempt = operation.attempt_id();
            match taken {
                Taken::New => {
                    tracing::info!(
                        operation_id = %attempt.operation, attempt = attempt.attempt.get(),
                        name = %operation.name, "Operation taken"
                    );
                    self.node
                        .happened(SlotEvent::Journaled(attempt, operation.frontend, operation.priority))
                        .await;
                }
                Taken::Known => tracing::info!(
                    operation_id = %attempt.operation, attempt = attempt.attempt.get(),
                    "Operation came again; it is known and ignored"
                ),
            }
            if let Err(error) = delivery.ack().await {
                // It comes again, and is known then.
                tracing::debug!(operation_id = %attempt.operation, %error, "not acknowledged");
            }
        }
    }

    /// Writes to the journal until it succeeds. Until then nothing is acknowledged and nothing more taken.
    async fn journal(&self, arrivals: Vec<Arrival>) -> Vec<Taken> {
        let arrivals = Arc::new(arrivals);
        loop {
            let batch = Arc::clone(&arrivals);
            let error = match self.node.on_disk(move |node| node.journal.take(&batch)).await {
                // What keeps it closed besides is said again in the next turn.
                Ok(taken) => return taken,
                Err(error) => error,
            };
            self.control.pause();
            let code = if error.is_full() { Code::DiskFull } else { Code::StateDirectoryUnwritable };
            tracing::error!(code = code.as_str(), %error, "Operations can't be taken; it is tried again");
            self.say(Some(code.because(error.to_string())));
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// In a task, because burying waits for the dead-letter queue.
    fn dead_letter(&self, delivery: Delivery, code: Code, reason: String) {
        self.node.spawn("dead-letter a message", async move {
            if let Err(error) = delivery.dead_letter(code.as_str(), &reason).await {
                tracing::warn!(%error, "a message could not be dead-lettered");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scope() -> Scope {
        Scope { backend: "main".parse().unwrap(), frontends: vec!["main".parse().unwrap()] }
    }

    fn message(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut body = json!({
            "id": "019235f0-7a3c-7def-8000-000000000001", "attempt": 1, "name": "example.print",
            "backend": "main", "frontend": "main", "target": {"kind": "site", "id": "1", "name": "a"},
            "hosts": [], "variables": {}, "locks": [], "requested_by": null,
            "requested_at": "2026-01-01T00:00:00Z", "timeout_seconds": null, "retry_of": null,
            "traceparent": null,
        });
        change(&mut body);
        serde_json::to_vec(&json!({"schema": "aegir.operation/0", "body": body})).unwrap()
    }

    #[test]
    fn what_is_not_for_this_backend_is_dead_lettered_with_its_reason() {
        assert!(scope().read(&message(|_| {})).is_ok());
        #[track_caller]
        fn check(bytes: &[u8], code: Code) {
            assert_eq!(scope().read(bytes).unwrap_err().0, code);
        }
        check(b"x", Code::MessageMalformed);
        check(&message(|body| body["backend"] = json!("other")), Code::MessageMisplaced);
        check(&message(|body| body["frontend"] = json!("other")), Code::MessageMisplaced);
        check(&message(|body| body["target"]["name"] = json!("-rf")), Code::MessageMalformed);
        check(br#"{"schema":"aegir.operation/1","body":{}}"#, Code::SchemaTooNew);
        check(br#"{"schema":"aegir.grant/0","body":{}}"#, Code::MessageMisplaced);
        check(&vec![b' '; 2 * 1024 * 1024], Code::MessageTooLarge);
    }

    #[test]
    fn the_gate_closes_when_all_places_are_taken_and_opens_when_a_quarter_is_free() {
        let gate = Gate { max_waiting: max_waiting(4, 1) };
        assert!(!gate.closed(false, 15));
        assert!(gate.closed(false, 16));
        assert!(gate.closed(true, 12));
        assert!(!gate.closed(true, 11));
        let gate = Gate { max_waiting: max_waiting(1, 2) };
        assert!(!gate.closed(false, 7));
        assert!(gate.closed(false, 8));
        assert!(!gate.closed(true, 5));
    }
}
