//! What is between a transcript and its receipt.

use aegir_protocol::message::{Replay, Unknown};
use aegir_protocol::state::Outcome;
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_that_relayd_does_not_know_is_kept_until_it_does() {
    let mut world = World::start("").await;
    world.relayd.state().unknown = true;
    let operation = world.operation("example.many", json!({"count": 1000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    let directory = world.attempt_directory(attempt);
    let marked = || serde_json::from_slice::<Unknown>(&std::fs::read(directory.unknown()).ok()?).ok();
    let unknown = world.wait("the mark", marked).await;
    assert_eq!(unknown.operation, operation.id);
    world.kill().await;
    world.relayd.state().unknown = false;
    // An answer to what the dead process had sent is on its way still.
    world.relayd.send(&world.node, &unknown).await;
    world.restart();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Succeeded));
    world.cleared(attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transcript_goes_on_as_soon_as_relayd_knows_it_again() {
    let world = World::start("slots = 1").await;
    world.relayd.state().unknown = true;
    let unknown = world.operation("example.print", json!({}));
    world.relayd.submit(&unknown).await;
    let directory = world.attempt_directory(unknown.attempt_id());
    world.wait("the mark", || directory.unknown().exists().then_some(())).await;
    // Neither its slot nor its part of the window is held meanwhile.
    world.relayd.state().unknown = false;
    let other = world.operation("example.print", json!({}));
    world.relayd.submit(&other).await;
    world.relayd.until("the other's end", |state| state.complete(other.attempt_id())).await;
    let replay = Replay { operation: unknown.id, attempt: unknown.attempt, offset: 0 };
    world.relayd.send(&world.node, &replay).await;
    world.relayd.until("its end", |state| state.complete(unknown.attempt_id())).await;
    world.cleared(unknown.attempt_id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_that_all_wait_for_the_window_go_on_when_receipts_come() {
    // Together they want more than the window. None has more than a chunk, which its own window always has room for:
    // every one is in line for the rest.
    let world = World::start("slots = 72\ntranscript_retention_seconds = 3600").await;
    world.relayd.state().receipts = false;
    let operations: Vec<_> =
        (0..72).map(|_| world.operation("example.many", json!({"count": 38_000}))).collect();
    for operation in &operations {
        world.relayd.submit(operation).await;
    }
    let full = aegir_protocol::limits::FRONTEND_WINDOW - 1024 * 1024;
    let arrived = |state: &crate::relayd::State| {
        state.transcripts.values().map(|bytes| bytes.len() as u64).sum::<u64>() >= full
    };
    world.relayd.until("a full window", arrived).await;
    world.relayd.state().receipts = true;
    for operation in &operations {
        let attempt = operation.attempt_id();
        world.relayd.until("the end", |state| state.complete(attempt)).await;
        world.wait_for_tombstone(attempt).await;
        let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
        assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    }
}
