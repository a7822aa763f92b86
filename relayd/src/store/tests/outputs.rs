//! What a further attempt is told of those before it.

use aegir_protocol::operation::Done;
use aegir_protocol::record::{ChildExit, Document, Remains, TaskFinished, TaskTitle};
use serde_json::{Value, json};

use super::*;

/// An Operation of two Tasks whose attempts are cut off before their last record.
struct Case {
    opened: Opened,
    operation: Operation,
    _directory: tempfile::TempDir,
}

fn document(task: u32, name: &str, value: Value) -> Record {
    let (sha256, entity) = ("00".to_owned(), None);
    Record::Document(Document {
        task,
        name: name.parse().unwrap(),
        entity,
        value,
        sha256,
        fresh_seconds: None,
    })
}

fn ended(task: u32, outcome: Outcome) -> Record {
    let (reason, exit) = (Code::Completed.because("it did"), ChildExit::default());
    Record::TaskFinished(TaskFinished {
        task,
        outcome,
        reason,
        exit,
        local: Remains::Gone,
        remote: Remains::Gone,
    })
}

impl Case {
    async fn of(operation: Operation) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let opened = Opened::at(&directory.path().join("relayd.db")).await;
        opened.submit(&operation).await;
        Self { opened, operation, _directory: directory }
    }

    fn attempt(&self, number: u32) -> AttemptId {
        let attempt = serde_json::from_value(json!(number)).unwrap();
        AttemptId { attempt, ..self.operation.attempt_id() }
    }

    /// What the transcript of an attempt says, after its start: that takes over what the first of these did.
    fn lines(&self, number: u32, digest: &str, done_in: Option<u32>, records: &[Record]) -> Vec<u8> {
        let title = |name: &str, done_in: Option<u32>| TaskTitle {
            role: "example".parse().unwrap(),
            name: name.parse().unwrap(),
            title: name.to_owned(),
            done_in: done_in.map(|number| self.attempt(number).attempt),
        };
        let started = Record::Started(Started {
            operation: self.operation.id,
            attempt: self.attempt(number).attempt,
            name: self.operation.name.clone(),
            target: self.operation.target.clone(),
            node: node("n1"),
            version: "0".to_owned(),
            dry_run: self.operation.is_dry_run(),
            check: self.operation.is_dry_run(),
            digest: Some(digest.to_owned()),
            tasks: vec![title("dump", done_in), title("load", None)],
        });
        let records = std::iter::once(&started).chain(records);
        (1..).zip(records).flat_map(|(seq, record)| record.to_line(seq, Timestamp::UNIX_EPOCH)).collect()
    }

    async fn send(&self, number: u32, offset: usize, bytes: &[u8]) {
        let Ingest::Chunk(header, payload) = chunk(self.operation.id, offset, bytes) else { panic!() };
        let header = Chunk { attempt: self.attempt(number).attempt, ..header };
        assert_eq!(self.opened.ingest(Ingest::Chunk(header, payload)).await, Settlement::Acknowledge);
    }

    /// An attempt runs, and fails.
    async fn fails(&self, number: u32, digest: &str, done_in: Option<u32>, records: &[Record]) {
        self.opened.claim_attempt(self.attempt(number)).await;
        self.send(number, 0, &self.lines(number, digest, done_in, records)).await;
        let reason = Code::RunnerGone.because("gone");
        let attempt = self.attempt(number);
        let event = LedgerEvent::Reported {
            attempt: attempt.attempt,
            node: node("n1"),
            outcome: Outcome::Failed,
            reason,
        };
        happened(&self.opened, attempt, event).await;
        assert_eq!(self.opened.state(self.operation.id).await, State::Failed);
    }

    async fn next(&self, from_start: bool) -> Option<Done> {
        let event = LedgerEvent::RetryRequested { by: None, from_start };
        let asked = ApplyAction { id: self.operation.id, event };
        assert_eq!(self.opened.store.write(asked).await.unwrap(), ActionOutcome::Accepted);
        let number = self.opened.store.unpublished(&self.operation.backend, 10).await.unwrap()[0].number;
        self.opened.store.queued(number).await.unwrap().unwrap().done
    }
}

fn dumped(attempt: u32) -> Value {
    json!({"digest": "d1", "tasks": [{"task": 1, "attempt": attempt, "outputs": {"backup": "/b"}}]})
}

#[tokio::test]
async fn the_next_attempt_is_told_what_is_done_as_long_as_the_role_is_the_same() {
    let case = Case::of(operation("a", &[("site:a", LockMode::Exclusive)])).await;
    let first = [
        document(1, "backup", json!("/old")),
        document(1, "backup", json!("/b")),
        ended(1, Outcome::Succeeded),
        document(2, "half", json!(1)),
        ended(2, Outcome::Failed),
    ];
    case.fails(1, "d1", None, &first).await;
    assert_eq!(json!(case.next(false).await), dumped(1));
    // What comes late of the first changes nothing for the third.
    let begun = case.lines(1, "d1", None, &first).len();
    let late = case.lines(1, "d1", None, &[&first[..], &[ended(2, Outcome::Succeeded)]].concat());
    case.opened.claim_attempt(case.attempt(2)).await;
    case.send(1, begun, &late[begun..]).await;
    case.fails(2, "d1", Some(1), &[ended(2, Outcome::Failed)]).await;
    assert_eq!(json!(case.next(false).await), dumped(1));
    // Another role does everything again.
    case.fails(3, "d2", None, &[ended(1, Outcome::Failed)]).await;
    assert_eq!(case.next(false).await, None);
    case.fails(4, "d1", None, &first).await;
    assert_eq!(json!(case.next(false).await), dumped(4));
    case.fails(5, "d1", Some(4), &[]).await;
    assert_eq!(case.next(true).await, None);
    case.opened.close().await;
}

#[tokio::test]
async fn what_a_dry_run_has_done_is_not_done() {
    let mut dry = operation("a", &[("site:a", LockMode::Exclusive)]);
    dry.dry_run = true;
    let case = Case::of(dry).await;
    case.fails(1, "d1", None, &[ended(1, Outcome::Succeeded)]).await;
    assert_eq!(case.next(false).await, None);
    case.opened.close().await;
}

#[tokio::test]
async fn what_no_message_holds_is_done_again() {
    let case = Case::of(operation("a", &[("site:a", LockMode::Exclusive)])).await;
    let mut records: Vec<_> =
        (0..5).map(|n| document(1, &format!("d{n}"), json!("x".repeat(250_000)))).collect();
    records.push(ended(1, Outcome::Succeeded));
    case.fails(1, "d1", None, &records).await;
    assert_eq!(case.next(false).await, None);
    case.opened.close().await;
}
