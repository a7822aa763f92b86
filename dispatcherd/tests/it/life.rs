//! What happens to Operations while nothing breaks.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::state::Outcome;
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_carried_out_and_its_transcript_arrives_byte_for_byte() {
    let world = World::start("transcript_retention_seconds = 3600").await;
    let operation = world.operation("example.many", json!({"count": 100_000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    let tombstone = world.wait_for_tombstone(attempt).await;
    assert_eq!(tombstone.outcome, Some(Outcome::Succeeded));
    let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    let report = aegir_transcript::verify(&world.attempt_directory(attempt).transcript()).unwrap();
    assert!(report.matches, "{report:?}");
    assert_eq!(world.relayd.state().claims.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_get_lost_are_sent_again() {
    let world = World::start("transcript_retention_seconds = 3600").await;
    world.relayd.state().lose = vec![2, 5, 6];
    let operation = world.operation("example.many", json!({"count": 300_000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    world.wait_for_tombstone(attempt).await;
    let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    assert!(world.relayd.state().replays > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_leaves_a_tombstone_and_what_comes_again_is_ignored() {
    let world = World::start("slots = 1").await;
    let failing = world.operation("example.fail", json!({}));
    world.relayd.submit(&failing).await;
    world.relayd.until("the end", |state| state.complete(failing.attempt_id())).await;
    assert_eq!(world.wait_for_tombstone(failing.attempt_id()).await.outcome, Some(Outcome::Failed));
    world.cleared(failing.attempt_id()).await;

    // Again, and after it another one: by the time that this is over, the first was looked at.
    world.relayd.submit(&failing).await;
    let printing = world.operation("example.print", json!({}));
    world.relayd.submit(&printing).await;
    world.relayd.until("the end", |state| state.complete(printing.attempt_id())).await;
    let claims: Vec<_> = world.relayd.state().claims.iter().map(|claim| claim.operation).collect();
    assert_eq!(claims, [failing.id, printing.id]);
    assert!(world.relayd.state().text(printing.attempt_id()).contains("{{ text }} is nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_can_not_be_planned_never_runs() {
    let world = World::start("").await;
    world.relayd.state().grant = Some(false);
    let refused = world.operation("example.print", json!({}));
    world.relayd.submit(&refused).await;
    let tombstone = world.wait_for_tombstone(refused.attempt_id()).await;
    assert!(tombstone.is_refusal());
    assert_eq!(tombstone.reason.unwrap().code, Code::ClaimRefused.as_str());

    world.relayd.state().grant = Some(true);
    let unknown = world.operation("example.other", json!({}));
    world.relayd.submit(&unknown).await;
    world.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = world.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (unknown.id, Outcome::Rejected));
    assert_eq!(report.reason.code, Code::UnknownOperation.as_str());
    world.cleared(unknown.attempt_id()).await;
    assert!(world.relayd.state().transcripts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_is_dead_lettered_and_stops_nothing() {
    let mut world = World::on(aegir_testkit::Broker::private().await.unwrap(), "").await;
    let mut other = world.operation("example.print", json!({}));
    other.backend = "other".parse().unwrap();
    let bad: [Vec<u8>; 4] = [
        b"no JSON".to_vec(),
        br#"{"schema":"aegir.operation/7","body":{}}"#.to_vec(),
        aegir_protocol::message::encode(&other),
        vec![b'x'; 2 * 1024 * 1024],
    ];
    for bytes in bad {
        world.relayd.submit_bytes(bytes).await;
    }
    let good = world.operation("example.print", json!({}));
    world.relayd.submit(&good).await;
    world.relayd.until("the end", |state| state.complete(good.attempt_id())).await;
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let queues = world.broker.control(&["list_queues", "name", "messages"]).await.unwrap();
        if queues.lines().any(|line| line.split_whitespace().eq(["aegir.dead", "4"])) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{queues}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_what_waits_and_what_runs() {
    let world = World::start("slots = 1").await;
    let (running, waiting) = (world.sleeper(), world.operation("example.print", json!({})));
    world.relayd.submit(&running).await;
    world.relayd.until("output", |state| state.text(running.attempt_id()).contains("before")).await;
    world.relayd.submit(&waiting).await;
    let waits = waiting.attempt_id();
    let beats = |state: &crate::relayd::State| {
        state
            .heartbeats
            .iter()
            .any(|beat| beat.waiting == [waits] && beat.running == [running.attempt_id()] && beat.accepting)
    };
    world.relayd.until("a heartbeat that says so", beats).await;

    world.relayd.cancel(&world.node, waits).await;
    world.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = world.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (waiting.id, Outcome::Canceled));
    world.cleared(waits).await;

    world.relayd.cancel(&world.node, running.attempt_id()).await;
    world.relayd.until("the end", |state| state.complete(running.attempt_id())).await;
    let tombstone = world.wait_for_tombstone(running.attempt_id()).await;
    assert_eq!(tombstone.outcome, Some(Outcome::Canceled));
    assert!(tombstone.reason.unwrap().message.contains("somebody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_learns_what_there_is_and_that_it_is_alive() {
    let world = World::start("").await;
    world.relayd.until("the catalog", |state| !state.catalogs.is_empty()).await;
    let catalog = world.relayd.state().catalogs[0].clone();
    assert_eq!(catalog.roles.keys().map(|role| role.as_str()).collect::<Vec<_>>(), ["example"]);
    assert!(catalog.recipient.starts_with("age1"));
    let id = uuid::Uuid::new_v4();
    world.relayd.echo(&world.node, id).await;
    world.relayd.until("the answer", |state| state.echoes.iter().any(|echo| echo.id == id)).await;
    world.relayd.until("a heartbeat", |state| !state.heartbeats.is_empty()).await;
    assert_eq!(world.relayd.state().heartbeats[0].node, world.node);
}
