//! Telling frontends something: claims, chunks, reports, catalogs, heartbeats.

use aegir_amqp::topology::{STATUS, TRANSCRIPTS};
use aegir_amqp::{Outgoing, PendingConfirm, PublishError, Publisher, Status};
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::{CHUNK_CONTENT_TYPE, Chunk, Heartbeat, Message, encode, encode_chunk};
use aegir_protocol::name::{FrontendName, NodeName};
use tokio::sync::watch;

/// The way to all frontends. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Frontends {
    publisher: Publisher,
    status: watch::Receiver<Status>,
    node: NodeName,
}

impl Frontends {
    /// Over this publisher, in the name of this node.
    #[must_use]
    pub fn new(publisher: Publisher, status: watch::Receiver<Status>, node: NodeName) -> Self {
        Self { publisher, status, node }
    }

    /// Who tells.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// Hands over a message; it has arrived when the answer is confirmed.
    ///
    /// # Errors
    /// When it was not sent.
    pub async fn send<M: Message>(
        &self,
        frontend: &FrontendName,
        message: &M,
    ) -> Result<PendingConfirm, PublishError> {
        let outgoing = Outgoing::new(TRANSCRIPTS, frontend.as_str(), encode(message)).kind(M::SCHEMA);
        self.publisher.send(outgoing).await
    }

    /// Hands over a piece of a transcript.
    ///
    /// # Errors
    /// When it was not sent.
    pub async fn chunk(
        &self,
        frontend: &FrontendName,
        attempt: AttemptId,
        offset: u64,
        payload: &[u8],
    ) -> Result<PendingConfirm, PublishError> {
        let header = Chunk {
            operation: attempt.operation,
            attempt: attempt.attempt,
            node: self.node.clone(),
            offset,
            length: u32::try_from(payload.len()).expect("a chunk is far below four gigabytes"),
            crc32c: crc32c::crc32c(payload),
        };
        let body = encode_chunk(&header, payload);
        let outgoing = Outgoing::new(TRANSCRIPTS, frontend.as_str(), body)
            .content_type(CHUNK_CONTENT_TYPE)
            .kind(Chunk::SCHEMA);
        self.publisher.send(outgoing).await
    }

    /// Says that this node is alive. It may get lost.
    ///
    /// # Errors
    /// When it was not sent.
    pub async fn send_heartbeat(
        &self,
        frontend: &FrontendName,
        heartbeat: &Heartbeat,
    ) -> Result<(), PublishError> {
        let outgoing = Outgoing::new(STATUS, frontend.as_str(), encode(heartbeat));
        self.publisher.publish(outgoing.kind(Heartbeat::SCHEMA).transient()).await
    }

    /// Waits until there is a session with the broker, and the broker takes messages.
    pub async fn up(&self) {
        let mut status = self.status.clone();
        if status.wait_for(Status::is_up).await.is_err() {
            // The session supervisor is gone, and this process with it in a moment.
            std::future::pending::<()>().await;
        }
    }

    /// How the session stands, from now on.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }
}
