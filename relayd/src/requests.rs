//! Requests that come by AMQP: the consumer of `aegir.requests.<frontend>`.

use std::sync::Arc;
use std::time::Duration;

use aegir_amqp::dead::{Body, Kept};
use aegir_amqp::{Deliveries, Delivery, Outgoing, Publisher, SettleError};
use aegir_protocol::code::Code;
use aegir_protocol::message::{DecodeError, Message as _, decode, encode};
use aegir_protocol::problem::{FieldProblem, Problem, pointer_token};
use aegir_protocol::request::{Accepted, Reply, Request, secret};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::operations::{Operations, key_of_message, problem};

/// How many requests are worked on at the same time.
pub const PREFETCH: u16 = 128;
/// Pauses between attempts to store.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Takes requests.
pub struct Requests {
    /// Where they are accepted.
    pub operations: Arc<Operations>,
    /// For the answers.
    pub publisher: Publisher,
}

impl Requests {
    /// Takes requests until `cancel`.
    pub async fn run(self, mut deliveries: Deliveries, cancel: CancellationToken) {
        let mut at_work = FuturesUnordered::new();
        loop {
            let next = tokio::select! {
                () = cancel.cancelled() => break,
                Some(()) = at_work.next() => continue,
                next = deliveries.recv(), if at_work.len() < usize::from(PREFETCH) => next,
            };
            let Some(delivery) = next else { break };
            at_work.push(self.handle(delivery, &cancel));
        }
        while at_work.next().await.is_some() {}
    }

    async fn handle(&self, delivery: Delivery, cancel: &CancellationToken) {
        let settled = match decode::<Request>(&delivery.body()) {
            Err(error) => {
                let problem = Problem::new(Code::RequestMalformed, error.to_string());
                self.reply(&delivery, Err(problem)).await;
                dead_letter(delivery, error.code().as_str(), &unreadable(&error), &[]).await
            }
            Ok(request) => {
                let result = match self.admit(&request, &delivery) {
                    Ok(key) => {
                        let Some(result) = self.submit(&request, key, cancel).await else { return };
                        result
                    }
                    Err(problem) => Err(problem),
                };
                let problem = result.as_ref().err().cloned();
                let answered = self.reply(&delivery, result).await;
                match problem {
                    // Nobody is told, so it has to be found.
                    Some(problem) if !answered => {
                        dead_letter(delivery, &problem.code, &problem.detail, &problem.errors).await
                    }
                    Some(_) | None => delivery.ack().await,
                }
            }
        };
        if let Err(error) = settled {
            tracing::warn!(error = %error, "a request could not be settled");
        }
    }

    /// What is asked of a request beyond what HTTP asks, because a queue lies on a disk and delivers twice. Gives
    /// the idempotency key.
    fn admit(&self, request: &Request, delivery: &Delivery) -> Result<String, Problem> {
        let mut secrets = Vec::new();
        for (scope, values) in &request.variables {
            for (name, _) in values.iter().filter(|(_, value)| secret(value).is_some()) {
                let pointer = format!("/variables/{}/{}", pointer_token(scope), pointer_token(name));
                let message = "a secret in the clear: send it sealed, or send the request by HTTP";
                secrets.push(FieldProblem::new(pointer, Code::SecretInTheClear, message));
            }
        }
        if !secrets.is_empty() {
            return Err(problem(secrets));
        }
        let id = || delivery.message_id().and_then(key_of_message);
        request.idempotency_key.clone().or_else(id).ok_or_else(|| {
            let detail = "neither idempotency_key nor the property message_id is there, or it is empty: the broker may deliver a \
                          message twice, and must not deploy twice";
            Problem::new(Code::IdempotencyKeyMissing, detail)
        })
    }

    /// Submits, however long the disk is full. `None` when it was cancelled before that.
    async fn submit(
        &self,
        request: &Request,
        key: String,
        cancel: &CancellationToken,
    ) -> Option<Result<Accepted, Problem>> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.operations.submit(request.clone(), Some(key.clone())).await {
                Err(problem) if problem.code == Code::StoreUnavailable.as_str() => {
                    tracing::warn!(
                        problem = problem.detail,
                        ?pause,
                        "a request can't be stored; it is tried again"
                    );
                    tokio::select! {
                        () = cancel.cancelled() => return None,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                result => return Some(result),
            }
        }
    }

    /// Answers, if the sender wants an answer. Says whether there is somebody who has it now.
    async fn reply(&self, delivery: &Delivery, result: Result<Accepted, Problem>) -> bool {
        let Some(queue) = delivery.reply_to() else { return false };
        let reply = match result {
            Ok(accepted) => Reply { accepted: Some(accepted), problem: None },
            Err(problem) => Reply { accepted: None, problem: Some(problem) },
        };
        let mut outgoing = Outgoing::new("", queue, encode(&reply)).kind(Reply::SCHEMA);
        if let Some(id) = delivery.correlation_id().or(delivery.message_id()) {
            outgoing = outgoing.correlation_id(id);
        }
        match self.publisher.publish(outgoing).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(queue, error = %error, "the sender of a request could not be answered");
                false
            }
        }
    }
}

/// Why a request could not be read. What a decoder says may quote a value, and the value may be a secret: the sender
/// is told, and here stands the place only.
fn unreadable(error: &DecodeError) -> String {
    match error.place() {
        Some(place) => format!(
            "not a request: what is wrong stands at {place}; the answer to its sender, if it named a reply queue, \
             says what is expected"
        ),
        // Nothing here quotes the body.
        None => format!("not a request: {error}"),
    }
}

/// Buries a request without the secrets that it may hold: those that are marked as such, and the values that were
/// refused because they should be.
async fn dead_letter(
    delivery: Delivery,
    code: &str,
    reason: &str,
    errors: &[FieldProblem],
) -> Result<(), SettleError> {
    let unmarked = errors.iter().filter(|error| error.code == Code::SecretInvalid.as_str());
    let pointers: Vec<_> = unmarked.map(|error| format!("/body{}", error.pointer)).collect();
    let pointers = pointers.iter().map(String::as_str);
    let body = Body::without_secrets(delivery.body(), pointers, Kept::Removed);
    delivery.dead_letter_with(code, reason, body).await
}
