//! What lies in the spool, its limit, and letting go of it.

use aegir_protocol::code::Code;
use aegir_protocol::state::Outcome;
use serde_json::json;

use crate::relayd::State;
use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_holds_everything_up_until_receipts_come() {
    let limit = 1024 * 1024;
    let settings = format!("transcript_retention_seconds = 3600\n[limits]\nspool_bytes = {limit}");
    let world = World::start(&settings).await;
    world.relayd.state().receipts = false;
    let operation = world.operation("example.trickle", json!({"count": 500_000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    let held = |state: &State| {
        state.heartbeats.last().is_some_and(|beat| {
            let full = beat.closed.as_ref().is_some_and(|reason| reason.code == Code::SpoolFull.as_str());
            full && !beat.accepting && beat.blocked == [attempt]
        })
    };
    world.relayd.until("a heartbeat that says so", held).await;
    let transcript = world.attempt_directory(attempt).transcript();
    let length = || std::fs::metadata(&transcript).unwrap().len();
    let (before, beats) = (length(), world.relayd.state().heartbeats.len());
    assert!(before >= limit, "{before}");
    world.relayd.until("another heartbeat", |state| state.heartbeats.len() > beats && held(state)).await;
    assert_eq!(length(), before, "the child went on although the spool is full");

    world.relayd.state().receipts = true;
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.buried(attempt).await.outcome, Some(Outcome::Succeeded));
    let written = std::fs::read(&transcript).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    let open =
        |state: &State| state.heartbeats.last().is_some_and(|beat| beat.accepting && beat.blocked.is_empty());
    world.relayd.until("a heartbeat that takes it back", open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcherd_that_dies_lets_go_of_what_it_held_up() {
    let mut world = World::start("[limits]\nspool_bytes = 100000").await;
    world.relayd.state().receipts = false;
    let operation = world.operation("example.trickle", json!({"count": 300_000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    let held = |state: &State| state.heartbeats.last().is_some_and(|beat| beat.blocked == [attempt]);
    world.relayd.until("a heartbeat that says so", held).await;
    world.kill().await;
    let transcript = world.attempt_directory(attempt).transcript();
    let finished = || dispatcherd::ship::finished(&transcript).unwrap();
    assert_eq!(world.wait("the runner's end", finished).await.0.outcome, Outcome::Succeeded);
}
