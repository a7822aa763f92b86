//! The store on real files.

mod attempts;
mod catalogs;
mod documents;
mod outputs;

use std::path::Path;
use std::sync::{Arc, Mutex};

use aegir_api::PauseRequest;
use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::message::{BootTime, Chunk, Claim, Receipt, ToNode};
use aegir_protocol::name::NodeName;
use aegir_protocol::operation::{Lock, LockMode, Operation, Target};
use aegir_protocol::record::{Finished, Progress, Record, Started};
use aegir_protocol::request::Accepted;
use aegir_protocol::state::{Outcome, State};
use aegir_protocol::{code::Code, limits::MAX_PRIORITY};
use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::write::{
    ActionOutcome, ApplyAction, ApplyEvents, Ingest, PauseBackend, Settlement, Submit, Submitted,
};
use super::{AfterCommit, CommitEffects, Store};
use crate::ledger::{LedgerEvent, Refusal, RetryPolicy};

#[derive(Default)]
struct Seen(Mutex<Vec<CommitEffects>>);

impl AfterCommit for Seen {
    fn committed(&self, effects: CommitEffects) {
        self.0.lock().unwrap().push(effects);
    }
}

impl Seen {
    fn messages(&self) -> Vec<ToNode> {
        let seen = self.0.lock().unwrap();
        seen.iter().flat_map(|effects| effects.messages.iter().map(|(_, message)| message.clone())).collect()
    }

    fn receipts(&self) -> Vec<Receipt> {
        let seen = self.0.lock().unwrap();
        seen.iter()
            .flat_map(|effects| effects.receipts.values().map(|(_, receipt)| receipt.clone()))
            .collect()
    }
}

struct Opened {
    store: Store,
    seen: Arc<Seen>,
    cancel: CancellationToken,
    writer: JoinHandle<()>,
}

impl Opened {
    async fn at(path: &Path) -> Self {
        let (store, writer) = Store::open(path).await.unwrap();
        let (seen, cancel) = (Arc::new(Seen::default()), CancellationToken::new());
        let after: Arc<dyn AfterCommit> = Arc::<Seen>::clone(&seen);
        let writer = tokio::spawn(writer.run(after, cancel.clone()));
        Self { store, seen, cancel, writer }
    }

    async fn close(self) {
        self.store.close_readers().await;
        self.cancel.cancel();
        self.writer.await.unwrap();
    }

    /// Ends the writer in the middle of whatever it does.
    async fn crash(self) {
        self.writer.abort();
        let _ = self.writer.await;
        self.store.close_readers().await;
    }

    async fn submit(&self, operation: &Operation) -> Accepted {
        let submit = Submit {
            operation: operation.clone(),
            retry_policy: RetryPolicy::default(),
            idempotency_key: None,
            request_mac: [0; 32],
        };
        let Submitted::Accepted(accepted) = self.store.write(submit).await.unwrap() else { panic!() };
        accepted
    }

    async fn state(&self, id: OperationId) -> State {
        self.store.state_of(id).await.unwrap().unwrap()
    }

    async fn ingest(&self, message: Ingest) -> Settlement {
        self.store.write(Arc::<[Ingest]>::from([message])).await.unwrap().remove(0)
    }

    async fn claim(&self, id: OperationId) {
        self.claim_attempt(AttemptId { operation: id, attempt: Attempt::FIRST }).await;
    }

    async fn claim_attempt(&self, AttemptId { operation, attempt }: AttemptId) {
        let asked_at = BootTime { boot: uuid::Uuid::nil(), milliseconds: 7 };
        let claim = Claim { operation, attempt, node: node("n1"), asked_at };
        assert_eq!(self.ingest(Ingest::Claim(claim)).await, Settlement::Acknowledge);
    }

    async fn chunk(&self, id: OperationId, offset: usize, payload: &[u8]) -> Settlement {
        self.ingest(chunk(id, offset, payload)).await
    }

    async fn copy(&self, id: OperationId) -> Vec<u8> {
        let mut copy = Vec::new();
        loop {
            let piece = self.store.raw(id, None, copy.len() as u64, 7).await.unwrap().unwrap();
            copy.extend_from_slice(&piece.bytes);
            if piece.end {
                return copy;
            }
        }
    }
}

fn node(name: &str) -> NodeName {
    name.parse().unwrap()
}

fn chunk(id: OperationId, offset: usize, payload: &[u8]) -> Ingest {
    let header = Chunk {
        operation: id,
        attempt: Attempt::FIRST,
        node: node("n1"),
        offset: offset as u64,
        length: u32::try_from(payload.len()).unwrap(),
        crc32c: 0,
    };
    Ingest::Chunk(header, Bytes::copy_from_slice(payload))
}

fn operation(site: &str, locks: &[(&str, LockMode)]) -> Operation {
    let lock = |(kind_id, mode): &(&str, LockMode)| {
        let (kind, id) = kind_id.split_once(':').unwrap();
        Lock { kind: kind.parse().unwrap(), id: id.parse().unwrap(), mode: *mode }
    };
    Operation {
        id: OperationId::generate(),
        attempt: Attempt::FIRST,
        name: "example.print".parse().unwrap(),
        backend: "main".parse().unwrap(),
        frontend: "main".parse().unwrap(),
        target: Target {
            kind: "site".parse().unwrap(),
            id: site.parse().unwrap(),
            name: site.parse().unwrap(),
        },
        hosts: Vec::new(),
        variables: std::collections::BTreeMap::new(),
        locks: locks.iter().map(lock).collect(),
        requested_by: None,
        requested_at: Timestamp::UNIX_EPOCH,
        priority: 0,
        dry_run: false,
        check: false,
        timeout_seconds: None,
        lease_seconds: None,
        retry_of: None,
        done: None,
        approved: None,
        traceparent: None,
    }
}

/// The transcript of an attempt that succeeds, as its lines.
fn transcript(operation: &Operation, between: u64) -> Vec<Vec<u8>> {
    let at = Timestamp::UNIX_EPOCH;
    let started = Record::Started(Started {
        operation: operation.id,
        attempt: Attempt::FIRST,
        name: operation.name.clone(),
        target: operation.target.clone(),
        node: node("n1"),
        version: "0".to_owned(),
        dry_run: false,
        check: false,
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
        outcome: Outcome::Succeeded,
        reason: Code::Completed.because("it did"),
        records: between + 2,
        sha256: hex::encode(digest),
    });
    lines.push(finished.to_line(between + 2, at));
    lines
}

/// A store with one claimed Operation.
async fn claimed(path: &Path) -> (Opened, Operation) {
    let opened = Opened::at(path).await;
    let operation = operation("a", &[("site:a", LockMode::Exclusive)]);
    opened.submit(&operation).await;
    opened.claim(operation.id).await;
    (opened, operation)
}

#[tokio::test]
async fn a_life_from_submission_to_its_end_survives_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let (opened, operation) = claimed(&path).await;
    let lines = transcript(&operation, 5);
    let first = lines[..3].concat();
    assert_eq!(opened.chunk(operation.id, 0, &first).await, Settlement::Acknowledge);
    assert_eq!(opened.state(operation.id).await, State::Running);
    opened.crash().await;

    // The verifier is built again from what is stored: the digest is right at the end.
    let opened = Opened::at(&path).await;
    assert_eq!(opened.chunk(operation.id, first.len(), &lines[3..].concat()).await, Settlement::Acknowledge);
    assert_eq!(opened.state(operation.id).await, State::Succeeded);
    let receipts = opened.seen.receipts();
    assert!(receipts.last().is_some_and(|receipt| receipt.complete), "{receipts:?}");
    assert_eq!(opened.copy(operation.id).await, lines.concat());
    let detail = opened.store.operation(operation.id, |_, _| {}).await.unwrap().unwrap();
    assert!(detail.attempts[0].transcript_complete);
    assert_eq!(detail.attempts[0].transcript_records, 7);
    let states: Vec<_> = detail.ledger.iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Waiting, State::Queued, State::Claimed, State::Running, State::Succeeded]);
    opened.close().await;
}

#[tokio::test]
async fn chunks_may_overlap_repeat_and_leave_gaps() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, operation) = claimed(&directory.path().join("relayd.db")).await;
    let id = operation.id;
    let lines = transcript(&operation, 4);
    let whole = lines.concat();
    let at = |line: usize| lines[..line].concat().len();
    assert_eq!(opened.chunk(id, at(2), &lines[2]).await, Settlement::Acknowledge);
    let asked = opened.seen.messages();
    assert!(matches!(asked.last(), Some(ToNode::Replay(replay)) if replay.offset == 0), "{asked:?}");
    assert_eq!(opened.chunk(id, at(3), &lines[3]).await, Settlement::Acknowledge);
    assert_eq!(opened.seen.messages().len(), asked.len(), "it asks once");
    assert_eq!(opened.chunk(id, 0, &whole[..at(2)]).await, Settlement::Acknowledge);
    assert_eq!(opened.chunk(id, 0, &whole[..at(2)]).await, Settlement::Acknowledge);
    assert_eq!(opened.chunk(id, at(1), &whole[at(1)..at(4)]).await, Settlement::Acknowledge);
    assert!(matches!(opened.chunk(id, at(3) + 1, &whole[at(3) + 1..]).await, Settlement::Acknowledge));
    assert_eq!(opened.copy(id).await, whole);
    assert_eq!(opened.chunk(id, at(1), &whole[at(1)..]).await, Settlement::Acknowledge);
    let behind = opened.chunk(id, whole.len(), b"{}\n").await;
    assert!(matches!(behind, Settlement::DeadLetter(Code::TranscriptMismatch, _)), "{behind:?}");

    let other = OperationId::generate();
    let asked = Arc::<[Ingest]>::from([chunk(other, 0, b"{}\n"), chunk(other, 3, b"{}\n")]);
    let unknown = opened.store.write(asked).await.unwrap();
    let dead_lettered =
        |settled: &Settlement| matches!(settled, Settlement::DeadLetter(Code::NoSuchOperation, _));
    assert!(unknown.iter().all(dead_lettered), "{unknown:?}");
    let told = opened.seen.messages();
    let told: Vec<_> = told.iter().filter(|message| matches!(message, ToNode::Unknown(_))).collect();
    assert!(matches!(told[..], [ToNode::Unknown(unknown)] if unknown.operation == other), "{told:?}");

    // Each record is found by its number, whatever chunk it came in.
    for (index, line) in lines.iter().enumerate() {
        let piece = opened.store.records(id, None, index as u64 + 1, 1).await.unwrap().unwrap();
        assert_eq!((&piece.bytes[..], piece.first_seq), (&line[..], index as u64 + 1));
        assert_eq!(piece.offset, at(index) as u64);
        assert_eq!(piece.end, index + 1 == lines.len());
    }
    let all = opened.store.records(id, None, 2, 1 << 20).await.unwrap().unwrap();
    assert_eq!(&all.bytes[..], &whole[at(1)..]);
    let beyond = opened.store.records(id, None, 99, 1 << 20).await.unwrap().unwrap();
    assert!(beyond.bytes.is_empty() && beyond.end && beyond.complete && beyond.first_seq == 7);
    opened.close().await;
}

#[tokio::test]
async fn what_was_not_written_is_asked_for_again_and_never_called_complete() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, operation) = claimed(&directory.path().join("relayd.db")).await;
    let id = operation.id;
    let mut lines = transcript(&operation, 2);
    let original = lines.concat();
    lines.remove(1);
    let damaged = lines.concat();
    assert_eq!(opened.chunk(id, 0, &damaged).await, Settlement::Acknowledge);
    assert_eq!(opened.state(id).await, State::Claimed, "a damaged transcript says nothing");
    assert!(matches!(opened.seen.messages().last(), Some(ToNode::Replay(replay)) if replay.offset == 0));
    assert!(opened.copy(id).await.is_empty());

    assert_eq!(opened.chunk(id, 0, &damaged).await, Settlement::Acknowledge);
    assert_eq!(opened.state(id).await, State::Succeeded);
    let detail = opened.store.operation(id, |_, _| {}).await.unwrap().unwrap();
    assert!(!detail.attempts[0].transcript_complete);
    assert_eq!(opened.copy(id).await, damaged);
    assert_ne!(damaged, original);
    opened.close().await;
}

#[tokio::test]
async fn only_the_node_that_was_granted_adds_to_the_transcript() {
    let directory = tempfile::tempdir().unwrap();
    let (opened, operation) = claimed(&directory.path().join("relayd.db")).await;
    let Ingest::Chunk(header, payload) = chunk(operation.id, 0, &transcript(&operation, 0).concat()) else {
        panic!()
    };
    let other = Ingest::Chunk(Chunk { node: node("n2"), ..header }, payload);
    assert!(matches!(opened.ingest(other).await, Settlement::DeadLetter(Code::ClaimRefused, _)));
    assert_eq!(opened.state(operation.id).await, State::Claimed);
    opened.close().await;
}

#[tokio::test]
async fn locks_are_taken_in_the_order_of_asking() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let (alone, shared) = (LockMode::Exclusive, LockMode::Shared);
    let holder = operation("a", &[("site:a", alone), ("host:h", shared)]);
    let second = operation("a", &[("site:a", alone), ("host:h", shared)]);
    let upkeep = operation("h", &[("host:h", alone)]);
    let behind = operation("b", &[("site:b", alone), ("host:h", shared)]);
    let mut urgent = operation("a", &[("site:a", alone)]);
    urgent.priority = MAX_PRIORITY;
    assert_eq!(opened.submit(&holder).await.state, State::Queued);
    for waiter in [&second, &upkeep, &behind, &urgent] {
        assert_eq!(opened.submit(waiter).await.state, State::Waiting);
    }
    let detail = opened.store.operation(behind.id, |_, _| {}).await.unwrap().unwrap();
    assert_eq!(detail.waits_for, [upkeep.id]);

    // Calling off who waits in front lets those behind go on.
    cancel(&opened, upkeep.id, ActionOutcome::Accepted).await;
    assert_eq!(opened.state(behind.id).await, State::Queued);
    cancel(&opened, holder.id, ActionOutcome::Accepted).await;
    assert_eq!(opened.state(urgent.id).await, State::Queued);
    assert_eq!(opened.state(second.id).await, State::Waiting);
    cancel(&opened, urgent.id, ActionOutcome::Accepted).await;
    assert_eq!(opened.state(second.id).await, State::Queued);
    cancel(&opened, urgent.id, ActionOutcome::Refused(Refusal::AlreadyEnded(State::Canceled))).await;
    cancel(&opened, OperationId::generate(), ActionOutcome::Unknown).await;
    opened.close().await;
}

async fn cancel(opened: &Opened, id: OperationId, expect: ActionOutcome) {
    let event = LedgerEvent::CancelRequested { by: None };
    assert_eq!(opened.store.write(ApplyAction { id, event }).await.unwrap(), expect);
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_operation_whoever_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let submit = |mac: u8| {
        let store = opened.store.clone();
        async move {
            let operation = operation("a", &[("site:a", LockMode::Exclusive)]);
            let key = Some("key".to_owned());
            let retry_policy = RetryPolicy::default();
            let submit = Submit { operation, retry_policy, idempotency_key: key, request_mac: [mac; 32] };
            store.write(submit).await.unwrap()
        }
    };
    let all = futures_util::future::join_all((0..50).map(|_| submit(1))).await;
    let ids: std::collections::BTreeSet<_> = all
        .iter()
        .map(|submitted| {
            let Submitted::Accepted(accepted) = submitted else { panic!() };
            accepted.id
        })
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(submit(2).await, Submitted::Conflict);
    assert!(matches!(opened.store.earlier("key", &[1; 32]).await.unwrap(), Some(Submitted::Accepted(_))));
    assert_eq!(opened.store.earlier("key", &[2; 32]).await.unwrap(), Some(Submitted::Conflict));
    assert_eq!(opened.store.earlier("other", &[2; 32]).await.unwrap(), None);
    opened.close().await;
}

#[tokio::test]
async fn the_outbox_holds_what_the_broker_has_not_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let operation = operation("a", &[("site:a", LockMode::Exclusive)]);
    opened.submit(&operation).await;
    let attempt = operation.attempt_id();
    let main = "main".parse().unwrap();
    let unpublished = opened.store.unpublished(&main, 10).await.unwrap();
    assert_eq!(unpublished.len(), 1);
    assert_eq!(opened.store.queued(unpublished[0].number).await.unwrap(), Some(operation));
    happened(&opened, attempt, LedgerEvent::Published { attempt: attempt.attempt }).await;
    assert!(opened.store.unpublished(&main, 10).await.unwrap().is_empty());
    assert!(opened.store.backends_to_publish().await.unwrap().is_empty());
    assert_eq!(opened.store.unclaimed(&main, 10).await.unwrap()[0].attempt, attempt);
    happened(&opened, attempt, LedgerEvent::Unclaimed { attempt: attempt.attempt }).await;
    assert_eq!(opened.store.unpublished(&main, 10).await.unwrap().len(), 1);
    let pause = PauseBackend { backend: main, request: PauseRequest::default() };
    opened.store.write(pause).await.unwrap();
    assert!(opened.store.backends_to_publish().await.unwrap().is_empty(), "it is paused");
    opened.close().await;
}

/// A version that reads one of the names only must not carry it out.
#[tokio::test]
async fn what_was_stored_as_check_is_a_dry_run_under_both_names_from_the_upgrade_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let opened = Opened::at(&path).await;
    let dry = Operation { dry_run: true, check: true, ..operation("a", &[]) };
    opened.submit(&dry).await;
    let real = operation("b", &[]);
    opened.submit(&real).await;
    opened.close().await;
    let mut connection = super::open::writer(&path).await.unwrap();
    for statement in [
        "UPDATE operations SET document = json_remove(document, '$.dry_run')",
        include_str!("../../../migrations/0008_dry_run.sql"),
    ] {
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
    sqlx::Connection::close(connection).await.unwrap();
    let opened = Opened::at(&path).await;
    let published: Vec<_> = opened.store.unpublished(&"main".parse().unwrap(), 10).await.unwrap();
    for (handed, expected) in published.iter().zip([&dry, &real]) {
        assert_eq!(opened.store.queued(handed.number).await.unwrap().as_ref(), Some(expected));
    }
    assert_eq!(published.len(), 2);
    opened.close().await;
}

#[tokio::test]
async fn the_outbox_gives_the_most_urgent_first_by_looks_into_the_index() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let mut submitted = Vec::new();
    for (number, priority) in [3, 3, 9, 0, 9].into_iter().enumerate() {
        let site = format!("a{number}");
        let operation =
            Operation { priority, ..operation(&site, &[(&format!("site:{site}"), LockMode::Exclusive)]) };
        opened.submit(&operation).await;
        submitted.push(operation.attempt_id());
    }
    let main = "main".parse().unwrap();
    let order: Vec<_> = [2, 4, 0, 1, 3].map(|number| submitted[number]).to_vec();
    let unpublished = opened.store.unpublished(&main, 10).await.unwrap();
    assert_eq!(unpublished.iter().map(|one| one.attempt).collect::<Vec<_>>(), order);
    assert_eq!(opened.store.unpublished(&main, 2).await.unwrap(), unpublished[..2]);
    assert_eq!(opened.store.backends_to_publish().await.unwrap(), std::slice::from_ref(&main));
    // Whoever is claimed makes room for another one.
    let attempt = order[0];
    happened(&opened, attempt, LedgerEvent::Published { attempt: attempt.attempt }).await;
    assert_eq!(opened.store.unclaimed(&main, 10).await.unwrap(), unpublished[..1]);
    opened.seen.0.lock().unwrap().clear();
    opened.claim(attempt.operation).await;
    assert!(opened.seen.0.lock().unwrap().iter().any(|effects| effects.publish));

    for query in crate::store::read::OUTBOX_QUERIES {
        let plan = format!("EXPLAIN QUERY PLAN {query}");
        let rows = sqlx::query(sqlx::AssertSqlSafe(plan)).fetch_all(&opened.store.readers).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
        let plan = plan.join("\n");
        assert!(plan.contains("operations_outbox"), "{plan}");
        assert!(!plan.contains("SCAN operations") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    opened.close().await;
}

async fn happened(opened: &Opened, attempt: AttemptId, event: LedgerEvent) {
    opened.store.write(ApplyEvents(vec![(attempt, event)])).await.unwrap();
}

#[tokio::test]
async fn the_file_is_set_up_as_it_should_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let (opened, _) = claimed(&path).await;
    let mut connection = super::open::writer(&path).await.unwrap();
    for (pragma, expect) in [("PRAGMA auto_vacuum", 2), ("PRAGMA synchronous", 2), ("PRAGMA foreign_keys", 1)]
    {
        let value: i64 = sqlx::query_scalar(pragma).fetch_one(&mut connection).await.unwrap();
        assert_eq!(value, expect, "{pragma}");
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut connection).await.unwrap();
    assert_eq!(mode, "wal");
    sqlx::Connection::close(connection).await.unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    opened.close().await;
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["relayd.db"], "the log is folded in");
}

#[tokio::test]
async fn a_store_that_can_not_be_written_says_so_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let (opened, first) = claimed(&path).await;
    // Somebody else holds the write lock for longer than the store waits for it.
    let mut other = super::open::writer(&path).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let error = opened.store.write(ApplyEvents(vec![])).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(opened.state(first.id).await, State::Claimed, "reading goes on");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    cancel(&opened, first.id, ActionOutcome::Accepted).await;
    sqlx::Connection::close(other).await.unwrap();
    opened.close().await;
}
