//! Further attempts, leases and pauses, as the store keeps them.

use std::time::Duration;

use super::*;
use crate::store::write::{RestartDeadlines, ResumeBackend};

const LEASE: Duration = Duration::from_secs(900);
const SAFE: RetryPolicy = RetryPolicy { lease: Some(LEASE), retries: Some((3, Duration::from_secs(60))) };

async fn with_retry_policy(opened: &Opened, operation: &Operation, retry_policy: RetryPolicy) {
    let submit =
        Submit { operation: operation.clone(), retry_policy, idempotency_key: None, request_mac: [0; 32] };
    assert!(matches!(opened.store.write(submit).await.unwrap(), Submitted::Accepted(_)));
}

fn site(name: &str) -> Operation {
    operation(name, &[(&format!("site:{name}"), LockMode::Exclusive)])
}

fn deadlines(opened: &Opened) -> Vec<(AttemptId, Duration, LedgerEvent)> {
    let mut seen = opened.seen.0.lock().unwrap();
    seen.iter_mut().flat_map(|effects| std::mem::take(&mut effects.deadlines)).collect()
}

fn reported(attempt: Attempt, outcome: Outcome) -> LedgerEvent {
    LedgerEvent::Reported { attempt, node: node("n1"), outcome, reason: Code::RunnerGone.because("gone") }
}

#[tokio::test]
async fn a_further_attempt_waits_for_its_time_and_then_for_its_locks() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let operation = site("a");
    with_retry_policy(&opened, &operation, SAFE).await;
    opened.claim(operation.id).await;
    let first = operation.attempt_id();
    happened(&opened, first, reported(first.attempt, Outcome::Failed)).await;

    let second = AttemptId { attempt: first.attempt.next(), ..first };
    assert_eq!(opened.state(operation.id).await, State::Waiting);
    let last = deadlines(&opened).pop().unwrap();
    let over = LedgerEvent::BackoffOver { attempt: second.attempt };
    assert_eq!(last, (second, Duration::from_secs(60), over.clone()));
    // Who asks for the same site meanwhile gets it: what waits for its time holds nothing.
    let other = site("a");
    opened.submit(&other).await;
    assert_eq!(opened.state(other.id).await, State::Queued);
    happened(&opened, second, over).await;
    assert_eq!(opened.state(operation.id).await, State::Waiting);
    cancel(&opened, other.id, ActionOutcome::Accepted).await;
    assert_eq!(opened.state(operation.id).await, State::Queued);

    let main = "main".parse().unwrap();
    let number = opened.store.unpublished(&main, 10).await.unwrap()[0].number;
    let published = opened.store.queued(number).await.unwrap().unwrap();
    assert_eq!((published.attempt_id(), published.retry_of), (second, Some(first.attempt)));
    let detail = opened.store.operation(operation.id, |_, _| {}).await.unwrap().unwrap();
    let outcomes: Vec<_> = detail.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Failed), None]);
    opened.close().await;
}

#[tokio::test]
async fn a_lease_is_granted_renewed_and_found_again_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("relayd.db");
    let opened = Opened::at(&path).await;
    let operation = site("a");
    with_retry_policy(&opened, &operation, SAFE).await;
    opened.claim(operation.id).await;
    opened.claim(operation.id).await;
    let leases: Vec<_> = opened
        .seen
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            ToNode::Grant(grant) => grant.lease.map(|lease| (lease.asked_at.milliseconds, lease.seconds)),
            _ => None,
        })
        .collect();
    assert_eq!(leases, [(7, 900), (7, 900)]);
    let attempt = operation.attempt_id();
    let over = |grants| (attempt, LEASE, LedgerEvent::LeaseOver { attempt: attempt.attempt, grants });
    assert_eq!(deadlines(&opened), [over(1), over(2)]);
    opened.close().await;

    let opened = Opened::at(&path).await;
    opened.store.write(RestartDeadlines(opened.store.with_deadlines().await.unwrap())).await.unwrap();
    assert_eq!(deadlines(&opened), [over(2)]);
    // That of the first grant came too late.
    happened(&opened, attempt, over(1).2).await;
    assert_eq!(opened.state(operation.id).await, State::Claimed);
    happened(&opened, attempt, over(2).2).await;
    assert_eq!(opened.state(operation.id).await, State::Queued, "the next attempt");
    let listed = opened.store.to_stop(&[attempt]).await.unwrap();
    assert_eq!(listed, [attempt], "whoever has it still is told to stop");
    opened.close().await;
}

#[tokio::test]
async fn nothing_starts_on_a_paused_backend_and_all_of_it_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let opened = Opened::at(&directory.path().join("relayd.db")).await;
    let operation = site("a");
    opened.submit(&operation).await;
    let attempt = operation.attempt_id();
    happened(&opened, attempt, LedgerEvent::Published { attempt: attempt.attempt }).await;
    let main: aegir_protocol::name::BackendName = "main".parse().unwrap();
    let request = PauseRequest { requested_by: Some("kim".to_owned()), reason: None };
    opened.store.write(PauseBackend { backend: main.clone(), request }).await.unwrap();

    opened.claim(operation.id).await;
    let Some(ToNode::Grant(refusal)) = opened.seen.messages().pop() else { panic!("no answer") };
    assert_eq!(refusal.reason.map(|reason| reason.code).as_deref(), Some(Code::BackendPaused.as_str()));
    let detail = opened.store.operation(operation.id, |_, _| {}).await.unwrap().unwrap();
    assert_eq!(detail.summary.state, State::Queued);
    assert_eq!(detail.paused.and_then(|pause| pause.by).as_deref(), Some("kim"));

    opened.store.write(ResumeBackend { backend: main.clone() }).await.unwrap();
    assert_eq!(opened.store.unpublished(&main, 10).await.unwrap().len(), 1, "it goes out again");
    opened.claim(operation.id).await;
    assert_eq!(opened.state(operation.id).await, State::Claimed);
    opened.close().await;
}
