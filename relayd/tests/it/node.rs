//! A node that does as the test says.

use aegir_amqp::{
    BrokerConfig, BrokerSession, Consume, Deliveries, Outgoing, SessionBuilder, Topology, topology,
};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::message::{
    Blocked, BootTime, CHUNK_CONTENT_TYPE, Chunk, Claim, Grant, Heartbeat, Receipt, ToNode, decode,
    decode_to_node, encode, encode_chunk,
};
use aegir_protocol::name::{BackendName, FrontendName, NodeName};
use aegir_protocol::operation::Operation;
use aegir_protocol::record::{Finished, Progress, Record, Started};
use aegir_protocol::state::Outcome;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::world::{World, within};

pub(crate) struct Node {
    pub(crate) name: NodeName,
    pub(crate) link: BrokerSession,
    frontend: FrontendName,
    backend: BackendName,
    /// The digest of the catalog that it says it has.
    pub(crate) catalog: Option<String>,
    operations: Deliveries,
    control: Deliveries,
    cancel: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Node {
    pub(crate) async fn start(world: &World, name: &str) -> Self {
        let name: NodeName = format!("{name}-{}", world.backend).parse().unwrap();
        let (frontend, backend) = (world.frontend.clone(), world.backend.clone());
        let topology = Topology::of_node(&backend, &name, std::slice::from_ref(&frontend));
        let mut builder =
            SessionBuilder::new(BrokerConfig::from_url(world.broker.url()), name.as_str(), topology);
        let (operations, _) = builder.consume(Consume::queue(topology::operations_queue(&backend), 100));
        let (control, _) = builder.consume(Consume::queue(topology::control_queue(&name), 100));
        let cancel = CancellationToken::new();
        let link = builder.start(cancel.clone(), &TaskTracker::new());
        assert!(within(link.up()).await);
        Self { name, link, frontend, backend, catalog: None, operations, control, cancel }
    }

    pub(crate) async fn send(&self, body: Vec<u8>) {
        self.publish(Outgoing::new(topology::TRANSCRIPTS, self.frontend.as_str(), body)).await;
    }

    pub(crate) async fn publish(&self, outgoing: Outgoing) {
        within(self.link.publisher().publish(outgoing)).await.unwrap();
    }

    /// The next Operation that is handed out.
    pub(crate) async fn operation(&mut self) -> Operation {
        let delivery = within(self.operations.recv()).await.unwrap();
        let operation = decode(&delivery.body()).unwrap();
        delivery.ack().await.unwrap();
        operation
    }

    /// The next thing that relayd says.
    pub(crate) async fn told(&mut self) -> ToNode {
        let delivery = within(self.control.recv()).await.unwrap();
        let message = decode_to_node(&delivery.body()).unwrap();
        delivery.ack().await.unwrap();
        message
    }

    pub(crate) async fn claim(&mut self, id: OperationId) -> Grant {
        let asked_at = BootTime { boot: uuid::Uuid::nil(), milliseconds: 0 };
        let claim = Claim { operation: id, attempt: Attempt::FIRST, node: self.name.clone(), asked_at };
        self.send(encode(&claim)).await;
        let ToNode::Grant(grant) = self.told().await else { panic!("no grant") };
        grant
    }

    pub(crate) async fn ship(&self, id: OperationId, offset: usize, payload: &[u8]) {
        let header = Chunk {
            operation: id,
            attempt: Attempt::FIRST,
            node: self.name.clone(),
            offset: offset as u64,
            length: u32::try_from(payload.len()).unwrap(),
            crc32c: crc32c::crc32c(payload),
        };
        let body = encode_chunk(&header, payload);
        let outgoing = Outgoing::new(topology::TRANSCRIPTS, self.frontend.as_str(), body);
        self.publish(outgoing.content_type(CHUNK_CONTENT_TYPE)).await;
    }

    /// The next receipt, which may cover more than one chunk.
    pub(crate) async fn receipt(&mut self) -> Receipt {
        match self.told().await {
            ToNode::Receipt(receipt) => receipt,
            other => panic!("{other:?} instead of a receipt"),
        }
    }

    /// Waits until everything before this offset is receipted.
    pub(crate) async fn receipted(&mut self, offset: usize) -> Receipt {
        loop {
            let receipt = self.receipt().await;
            if receipt.offset >= offset as u64 {
                return receipt;
            }
        }
    }

    pub(crate) async fn beat(&self, running: Vec<AttemptId>, blocked: Vec<Blocked>) {
        self.beat_with(4, running, blocked).await;
    }

    /// The same from a node with so many slots.
    pub(crate) async fn beat_with(&self, slots: u32, running: Vec<AttemptId>, blocked: Vec<Blocked>) {
        let heartbeat = Heartbeat {
            node: self.name.clone(),
            backend: self.backend.clone(),
            version: "0".to_owned(),
            at: Timestamp::now(),
            slots,
            waiting: Vec::new(),
            running,
            spool_bytes: 0,
            accepting: true,
            last_outage: None,
            closed: None,
            catalog: self.catalog.clone(),
            blocked,
        };
        let outgoing = Outgoing::new(topology::STATUS, self.frontend.as_str(), encode(&heartbeat));
        self.publish(outgoing.transient()).await;
    }

    /// Takes one Operation from its delivery to its end, with these many records between.
    pub(crate) async fn carry_out(&mut self, between: u64) -> (OperationId, Vec<u8>) {
        let operation = self.operation().await;
        assert!(self.claim(operation.id).await.granted);
        let whole = self.transcript(&operation, between, Outcome::Succeeded).concat();
        self.ship(operation.id, 0, &whole).await;
        assert!(self.receipted(whole.len()).await.complete);
        (operation.id, whole)
    }

    /// The lines of a whole transcript.
    pub(crate) fn transcript(&self, operation: &Operation, between: u64, outcome: Outcome) -> Vec<Vec<u8>> {
        let at = Timestamp::UNIX_EPOCH;
        let started = Record::Started(Started {
            operation: operation.id,
            attempt: operation.attempt,
            name: operation.name.clone(),
            target: operation.target.clone(),
            node: self.name.clone(),
            version: "0".to_owned(),
            dry_run: operation.is_dry_run(),
            check: operation.is_dry_run(),
            digest: None,
            tasks: Vec::new(),
        });
        let mut lines = vec![started.to_line(1, at)];
        for seq in 2..2 + between {
            let progress = Progress { task: 1, percent: 1, message: Some(format!("line {seq}")) };
            lines.push(Record::Progress(progress).to_line(seq, at));
        }
        let digest = Sha256::digest(lines.concat());
        let finished = Record::Finished(Finished {
            outcome,
            reason: Code::Completed.because("it is over"),
            records: between + 2,
            sha256: hex::encode(digest),
        });
        lines.push(finished.to_line(between + 2, at));
        lines
    }
}
