//! What came from `aegir.transcripts.<frontend>`: chunks, claims, reports and catalogs, in the order in which
//! they came.

use std::sync::Arc;
use std::time::Duration;

use aegir_catalog::Catalog;
use aegir_protocol::code::Code;
use aegir_protocol::id::{AttemptId, OperationId};
use aegir_protocol::message::{Chunk, Claim, Grant, Receipt, Replay, Report, ToNode, Unknown};
use aegir_protocol::name::NodeName;
use aegir_protocol::state::{Outcome, Reason, State};
use aegir_transcript::Verifier;
use bytes::Bytes;
use sqlx::Row as _;
use tokio::time::Instant;

use super::chunk_position::{ChunkPosition, position_of};
use super::outputs::ChunkFacts;
use crate::ledger::LedgerEvent;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::rows;
use crate::store::tails::Tail;
use crate::store::writer::WriteCommand;

/// One message to store.
#[derive(Clone, Debug)]
pub enum Ingest {
    /// A piece of a transcript.
    Chunk(Chunk, Bytes),
    /// A node asks to start.
    Claim(Claim),
    /// The end of an attempt without `finished`.
    Report(Report),
    /// What a backend can do, and the same as it came.
    Catalog(Box<Catalog>, Box<str>),
}

/// What is to be done with the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It is handled.
    Acknowledge,
    /// It can't be handled, and never can.
    DeadLetter(Code, String),
}

/// In the order in which they came. Shared, so that what a full disk refused can be tried again.
impl WriteCommand for Arc<[Ingest]> {
    type Answer = Vec<Settlement>;

    fn size(&self) -> usize {
        let size = |message: &Ingest| match message {
            Ingest::Chunk(_, payload) => payload.len(),
            Ingest::Claim(_) | Ingest::Report(_) | Ingest::Catalog(..) => 0,
        };
        self.iter().map(size).sum()
    }

    async fn apply(&self, batch: &mut Batch) -> Result<Vec<Settlement>, StoreError> {
        let mut settled = Vec::with_capacity(self.len());
        for message in self.iter() {
            settled.push(match message {
                Ingest::Chunk(header, payload) => batch.store_chunk(header, payload).await?,
                Ingest::Claim(claim) => batch.claim(claim).await?,
                Ingest::Report(report) => batch.report(report).await?,
                Ingest::Catalog(catalog, document) => {
                    batch.store_catalog(catalog, document).await?;
                    Settlement::Acknowledge
                }
            });
        }
        Ok(settled)
    }
}

/// After asking for a piece again, for how long more that comes behind it is no reason to ask once more.
const REPLAY_PAUSE: Duration = Duration::from_secs(2);

/// What is stored of an attempt's transcript.
enum Known {
    /// It grows.
    Open(Box<Tail>),
    /// It has its `finished` record, and this many bytes.
    Closed(u64),
}

fn misfit(end: u64) -> Settlement {
    let message = format!("its payload does not hold whole records that go on at {end} bytes");
    Settlement::DeadLetter(Code::TranscriptMismatch, message)
}

fn unknown(operation: OperationId) -> Settlement {
    Settlement::DeadLetter(Code::NoSuchOperation, format!("there is no Operation {operation} here"))
}

impl Batch {
    async fn claim(&mut self, claim: &Claim) -> Result<Settlement, StoreError> {
        let Some(mut current) = self.current(claim.operation).await? else {
            // The node has to learn it too, or it asks forever.
            let message = format!("there is no Operation {} here", claim.operation);
            let refusal = Grant {
                operation: claim.operation,
                attempt: claim.attempt,
                granted: false,
                reason: Some(Code::NoSuchOperation.because(message)),
                lease: None,
            };
            self.effects.messages.push((claim.node.clone(), ToNode::Grant(refusal)));
            return Ok(unknown(claim.operation));
        };
        if let Some(plan) = self.approves(current.number).await?
            && let Some(other) = self.overtaken_by(plan, Some(current.number)).await?
        {
            let event = LedgerEvent::PlanOvertaken { attempt: claim.attempt, other };
            let _ = self.apply_event(&mut current, &event).await?;
        }
        let paused = self.is_paused(current.number).await?;
        let Claim { attempt, ref node, asked_at, .. } = *claim;
        let event = LedgerEvent::Claimed { attempt, node: node.clone(), asked_at, paused };
        // A claim that can't be granted gets its answer as a message.
        let _ = self.apply_event(&mut current, &event).await?;
        Ok(Settlement::Acknowledge)
    }

    async fn report(&mut self, report: &Report) -> Result<Settlement, StoreError> {
        if report.outcome == Outcome::Succeeded {
            let message = "only a transcript can say that an attempt succeeded".to_owned();
            return Ok(Settlement::DeadLetter(Code::MessageMalformed, message));
        }
        let Some(mut current) = self.current(report.operation).await? else {
            return Ok(unknown(report.operation));
        };
        let event = LedgerEvent::Reported {
            attempt: report.attempt,
            node: report.node.clone(),
            outcome: report.outcome,
            reason: report.reason.clone(),
        };
        // What nodes say is never refused.
        let _ = self.apply_event(&mut current, &event).await?;
        Ok(Settlement::Acknowledge)
    }

    async fn store_chunk(&mut self, header: &Chunk, payload: &Bytes) -> Result<Settlement, StoreError> {
        let attempt = AttemptId { operation: header.operation, attempt: header.attempt };
        let mut tail = match self.known(attempt).await? {
            None => return Ok(self.report_unknown(header)),
            Some(Known::Open(tail)) => *tail,
            Some(Known::Closed(end)) => return Ok(self.after_the_end(header, payload, end)),
        };
        if tail.node.as_ref().is_some_and(|node| *node != header.node) {
            let holder = tail.node.as_ref().map_or("another node", NodeName::as_str);
            let message = format!("{} has no right to attempt {attempt}: {holder} has", header.node);
            return Ok(Settlement::DeadLetter(Code::ClaimRefused, message));
        }
        tail.node = Some(header.node.clone());
        let end = tail.verifier.offset();
        let from = match position_of(end, header.offset, payload) {
            ChunkPosition::Append(from) => from,
            ChunkPosition::Known => {
                self.receipt(header, end, false);
                return Ok(Settlement::Acknowledge);
            }
            ChunkPosition::Gap => {
                self.replay(header, &mut tail);
                self.set_tail(attempt, tail);
                return Ok(Settlement::Acknowledge);
            }
            ChunkPosition::Invalid => return Ok(misfit(end)),
        };
        let fresh = payload.slice(from..);
        let mut facts = ChunkFacts::default();
        let first_seq = tail.verifier.records() + 1;
        let checked = tail.verifier.push(&fresh, |_, header| facts.read_record(header));
        if let Err(error) = checked
            && tail.mismatches == 0
        {
            tracing::warn!(
                operation_id = %header.operation, attempt = %header.attempt, error = %error,
                "a transcript is not what its runner wrote; it is asked for again from the start"
            );
            return self.start_over(attempt, tail, header).await;
        }
        self.insert_chunk(attempt, &tail, end, first_seq, &fresh).await?;
        self.keep_documents(attempt, facts.documents.values()).await?;
        self.keep_outputs(tail.operation, attempt, &facts).await?;
        let started = facts.begun;
        let finished = tail.verifier.finished().cloned();
        self.receipt(header, tail.verifier.offset(), finished.is_some());
        self.effects.changed.insert(header.operation);
        self.set_tail(attempt, tail);
        self.apply_to_ledger(header, started, finished.map(|finished| (finished.outcome, finished.reason)))
            .await?;
        Ok(Settlement::Acknowledge)
    }

    /// Tells the node that its attempt is not known here, once for all of its chunks in this batch: it would send
    /// them for ever.
    fn report_unknown(&mut self, header: &Chunk) -> Settlement {
        let attempt = AttemptId { operation: header.operation, attempt: header.attempt };
        let message = format!("there is no attempt {attempt} here");
        let told = ToNode::Unknown(Unknown {
            operation: header.operation,
            attempt: header.attempt,
            reason: Code::NoSuchOperation.because(message.clone()),
        });
        let told = (header.node.clone(), told);
        if !self.effects.messages.contains(&told) {
            self.effects.messages.push(told);
        }
        Settlement::DeadLetter(Code::NoSuchOperation, message)
    }

    /// What happens to the Operation by what a chunk says.
    async fn apply_to_ledger(
        &mut self,
        header: &Chunk,
        started: bool,
        finished: Option<(Outcome, Reason)>,
    ) -> Result<(), StoreError> {
        if !started && finished.is_none() {
            return Ok(());
        }
        let Some(mut current) = self.current(header.operation).await? else { return Ok(()) };
        let (attempt, node) = (header.attempt, header.node.clone());
        if started {
            // What nodes say is never refused; neither is this below.
            let _ =
                self.apply_event(&mut current, &LedgerEvent::Started { attempt, node: node.clone() }).await?;
        }
        if let Some((outcome, reason)) = finished {
            let event = LedgerEvent::Finished { attempt, node, outcome, reason };
            let _ = self.apply_event(&mut current, &event).await?;
            if current.status.state == State::Succeeded && current.status.attempt == attempt {
                // There will be no further attempt.
                self.forget_done(current.number, &[]).await?;
            }
        }
        Ok(())
    }

    /// Lets go of what is stored of a transcript, and asks for all of it once more.
    async fn start_over(
        &mut self,
        attempt: AttemptId,
        tail: Tail,
        header: &Chunk,
    ) -> Result<Settlement, StoreError> {
        sqlx::query("DELETE FROM chunks WHERE operation = ?1 AND attempt = ?2")
            .bind(tail.operation)
            .bind(attempt.attempt.get())
            .execute(&mut self.connection)
            .await?;
        sqlx::query(
            "UPDATE attempts SET bytes = 0, records = 0, mismatches = mismatches + 1 \
             WHERE operation = ?1 AND attempt = ?2",
        )
        .bind(tail.operation)
        .bind(attempt.attempt.get())
        .execute(&mut self.connection)
        .await?;
        let mut fresh = Tail {
            operation: tail.operation,
            node: tail.node,
            verifier: Verifier::new(),
            mismatches: tail.mismatches + 1,
            replay_asked: None,
        };
        self.effects.receipts.remove(&attempt);
        self.effects.changed.insert(attempt.operation);
        self.replay(header, &mut fresh);
        self.set_tail(attempt, fresh);
        Ok(Settlement::Acknowledge)
    }

    async fn insert_chunk(
        &mut self,
        attempt: AttemptId,
        tail: &Tail,
        start: u64,
        first_seq: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let verifier = &tail.verifier;
        sqlx::query(
            "INSERT INTO chunks (operation, attempt, start, first_seq, records, bytes) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(tail.operation)
        .bind(attempt.attempt.get())
        .bind(rows::signed(start))
        .bind(rows::signed(first_seq))
        .bind(rows::signed(verifier.records() + 1 - first_seq))
        .bind(bytes)
        .execute(&mut self.connection)
        .await?;
        let mismatch = verifier.error().is_some();
        if let Some(error) = verifier.error() {
            tracing::error!(
                operation_id = %attempt.operation, attempt = %attempt.attempt, error = %error,
                "a transcript is not what its runner wrote, again; it is kept as it came"
            );
        }
        sqlx::query(
            "UPDATE attempts SET bytes = ?3, records = ?4, closed = ?5, \
             mismatches = CASE WHEN ?6 THEN max(mismatches, 2) ELSE mismatches END \
             WHERE operation = ?1 AND attempt = ?2",
        )
        .bind(tail.operation)
        .bind(attempt.attempt.get())
        .bind(rows::signed(verifier.offset()))
        .bind(rows::signed(verifier.records()))
        .bind(verifier.finished().is_some())
        .bind(mismatch)
        .execute(&mut self.connection)
        .await?;
        self.transcript_bytes += bytes.len() as u64;
        Ok(())
    }

    fn receipt(&mut self, header: &Chunk, offset: u64, complete: bool) {
        let attempt = AttemptId { operation: header.operation, attempt: header.attempt };
        let receipt = Receipt { operation: header.operation, attempt: header.attempt, offset, complete };
        self.effects.receipts.insert(attempt, (header.node.clone(), receipt));
    }

    /// Asks for what follows the stored end, unless that was done a moment ago: the chunks that were under way
    /// behind a missing one would each ask again.
    fn replay(&mut self, header: &Chunk, tail: &mut Tail) {
        let offset = tail.verifier.offset();
        let asked = tail.replay_asked.is_some_and(|(at, when)| at == offset && when.elapsed() < REPLAY_PAUSE);
        if asked {
            return;
        }
        tail.replay_asked = Some((offset, Instant::now()));
        let replay = Replay { operation: header.operation, attempt: header.attempt, offset };
        self.effects.messages.push((header.node.clone(), ToNode::Replay(replay)));
    }

    /// A chunk of a transcript that has its end: known, or nonsense.
    fn after_the_end(&mut self, header: &Chunk, payload: &[u8], end: u64) -> Settlement {
        match position_of(end, header.offset, payload) {
            ChunkPosition::Known => {
                self.receipt(header, end, true);
                Settlement::Acknowledge
            }
            ChunkPosition::Append(_) | ChunkPosition::Gap => {
                let message = format!("it lies behind the end of the transcript, at {end} bytes");
                Settlement::DeadLetter(Code::TranscriptMismatch, message)
            }
            ChunkPosition::Invalid => misfit(end),
        }
    }

    /// What is stored of an attempt's transcript; `None` when there is no such attempt.
    async fn known(&mut self, attempt: AttemptId) -> Result<Option<Known>, StoreError> {
        if let Some(tail) = self.tail(&attempt) {
            let closed = tail.verifier.finished().is_some();
            return Ok(Some(if closed {
                Known::Closed(tail.verifier.offset())
            } else {
                Known::Open(Box::new(tail))
            }));
        }
        let row = sqlx::query(
            "SELECT a.operation, a.node, a.bytes, a.closed, a.mismatches FROM attempts a \
             JOIN operations o ON o.number = a.operation WHERE o.id = ?1 AND a.attempt = ?2",
        )
        .bind(attempt.operation.to_string())
        .bind(attempt.attempt.get())
        .fetch_optional(&mut self.connection)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.try_get("closed")? {
            return Ok(Some(Known::Closed(rows::unsigned("bytes", row.try_get("bytes")?)?)));
        }
        let operation: i64 = row.try_get("operation")?;
        let node: Option<String> = row.try_get("node")?;
        let node = node.map(|node| rows::parse("node", &node)).transpose()?;
        let verifier = self.reread(operation, attempt).await?;
        let mismatches = row.try_get("mismatches")?;
        Ok(Some(Known::Open(Box::new(Tail { operation, node, verifier, mismatches, replay_asked: None }))))
    }

    /// The verifier at the end of what is stored, by reading it again, one chunk in memory at a time.
    async fn reread(&mut self, operation: i64, attempt: AttemptId) -> Result<Verifier, StoreError> {
        let mut verifier = Verifier::new();
        loop {
            let bytes: Option<Vec<u8>> = sqlx::query_scalar(
                "SELECT bytes FROM chunks WHERE operation = ?1 AND attempt = ?2 AND start = ?3",
            )
            .bind(operation)
            .bind(attempt.attempt.get())
            .bind(rows::signed(verifier.offset()))
            .fetch_optional(&mut self.connection)
            .await?;
            let Some(bytes) = bytes else { return Ok(verifier) };
            // What is wrong with it was dealt with when it was stored.
            let _ = verifier.push(&bytes, |_, _| {});
        }
    }
}
