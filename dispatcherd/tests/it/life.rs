//! What happens to Operations while nothing breaks.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::state::Outcome;
use serde_json::json;

use crate::bench::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_carried_out_and_its_transcript_arrives_byte_for_byte() {
    let bench = Bench::start("transcript_retention_seconds = 3600").await;
    let operation = bench.operation("example.many", json!({"count": 100_000}));
    let attempt = operation.attempt_id();
    bench.relayd.submit(&operation).await;
    bench.relayd.until("the end", |state| state.complete(attempt)).await;
    let tombstone = bench.buried(attempt).await;
    assert_eq!(tombstone.outcome, Some(Outcome::Succeeded));
    let written = std::fs::read(bench.attempt_directory(attempt).transcript()).unwrap();
    assert!(bench.relayd.state().transcripts[&attempt] == written, "the copies differ");
    let report = aegir_transcript::verify(&bench.attempt_directory(attempt).transcript()).unwrap();
    assert!(report.matches, "{report:?}");
    assert_eq!(bench.relayd.state().claims.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_get_lost_are_sent_again() {
    let bench = Bench::start("transcript_retention_seconds = 3600").await;
    bench.relayd.state().lose = vec![2, 5, 6];
    let operation = bench.operation("example.many", json!({"count": 300_000}));
    let attempt = operation.attempt_id();
    bench.relayd.submit(&operation).await;
    bench.relayd.until("the end", |state| state.complete(attempt)).await;
    bench.buried(attempt).await;
    let written = std::fs::read(bench.attempt_directory(attempt).transcript()).unwrap();
    assert!(bench.relayd.state().transcripts[&attempt] == written, "the copies differ");
    assert!(bench.relayd.state().replays > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ends_leaves_a_tombstone_and_what_comes_again_is_ignored() {
    let bench = Bench::start("slots = 1").await;
    let failing = bench.operation("example.fail", json!({}));
    bench.relayd.submit(&failing).await;
    bench.relayd.until("the end", |state| state.complete(failing.attempt_id())).await;
    assert_eq!(bench.buried(failing.attempt_id()).await.outcome, Some(Outcome::Failed));
    bench.cleared(failing.attempt_id()).await;

    // Again, and after it another one: by the time that this is over, the first was looked at.
    bench.relayd.submit(&failing).await;
    let printing = bench.operation("example.print", json!({}));
    bench.relayd.submit(&printing).await;
    bench.relayd.until("the end", |state| state.complete(printing.attempt_id())).await;
    let claims: Vec<_> = bench.relayd.state().claims.iter().map(|claim| claim.operation).collect();
    assert_eq!(claims, [failing.id, printing.id]);
    assert!(bench.relayd.state().text(printing.attempt_id()).contains("{{ text }} is nothing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_can_not_be_planned_never_runs() {
    let bench = Bench::start("").await;
    bench.relayd.state().grant = Some(false);
    let refused = bench.operation("example.print", json!({}));
    bench.relayd.submit(&refused).await;
    let tombstone = bench.buried(refused.attempt_id()).await;
    assert!(tombstone.is_refusal());
    assert_eq!(tombstone.reason.unwrap().code, Code::ClaimRefused.as_str());

    bench.relayd.state().grant = Some(true);
    let unknown = bench.operation("example.other", json!({}));
    bench.relayd.submit(&unknown).await;
    bench.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = bench.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (unknown.id, Outcome::Rejected));
    assert_eq!(report.reason.code, Code::UnknownOperation.as_str());
    bench.cleared(unknown.attempt_id()).await;
    assert!(bench.relayd.state().transcripts.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_message_is_buried_and_stops_nothing() {
    let mut bench = Bench::on(aegir_testkit::Broker::private().await.unwrap(), "").await;
    let mut other = bench.operation("example.print", json!({}));
    other.backend = "other".parse().unwrap();
    let bad: [Vec<u8>; 4] = [
        b"no JSON".to_vec(),
        br#"{"schema":"aegir.operation/7","body":{}}"#.to_vec(),
        aegir_protocol::message::encode(&other),
        vec![b'x'; 2 * 1024 * 1024],
    ];
    for bytes in bad {
        bench.relayd.submit_bytes(bytes).await;
    }
    let good = bench.operation("example.print", json!({}));
    bench.relayd.submit(&good).await;
    bench.relayd.until("the end", |state| state.complete(good.attempt_id())).await;
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let queues = bench.broker.control(&["list_queues", "name", "messages"]).await.unwrap();
        if queues.lines().any(|line| line.split_whitespace().eq(["aegir.dead", "4"])) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{queues}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_what_waits_and_what_runs() {
    let bench = Bench::start("slots = 1").await;
    let (running, waiting) = (bench.sleeper(), bench.operation("example.print", json!({})));
    bench.relayd.submit(&running).await;
    bench.relayd.until("output", |state| state.text(running.attempt_id()).contains("before")).await;
    bench.relayd.submit(&waiting).await;
    let waits = waiting.attempt_id();
    let beats = |state: &crate::relayd::State| {
        state
            .heartbeats
            .iter()
            .any(|beat| beat.waiting == [waits] && beat.running == [running.attempt_id()] && beat.accepting)
    };
    bench.relayd.until("a heartbeat that says so", beats).await;

    bench.relayd.cancel(&bench.node, waits).await;
    bench.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = bench.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (waiting.id, Outcome::Canceled));
    bench.cleared(waits).await;

    bench.relayd.cancel(&bench.node, running.attempt_id()).await;
    bench.relayd.until("the end", |state| state.complete(running.attempt_id())).await;
    let tombstone = bench.buried(running.attempt_id()).await;
    assert_eq!(tombstone.outcome, Some(Outcome::Canceled));
    assert!(tombstone.reason.unwrap().message.contains("somebody"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frontend_learns_what_there_is_and_that_it_is_alive() {
    let bench = Bench::start("").await;
    bench.relayd.until("the catalog", |state| !state.catalogs.is_empty()).await;
    let catalog = bench.relayd.state().catalogs[0].clone();
    assert_eq!(catalog.roles.keys().map(|role| role.as_str()).collect::<Vec<_>>(), ["example"]);
    assert!(catalog.recipient.starts_with("age1"));
    let id = uuid::Uuid::new_v4();
    bench.relayd.echo(&bench.node, id).await;
    bench.relayd.until("the answer", |state| state.echoes.iter().any(|echo| echo.id == id)).await;
    bench.relayd.until("a heartbeat", |state| !state.heartbeats.is_empty()).await;
    assert_eq!(bench.relayd.state().heartbeats[0].node, bench.node);
}
