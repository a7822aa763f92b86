//! What lies in the spool, its limit, and letting go of it.

use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::state::Outcome;
use jiff::SignedDuration;
use serde_json::json;

use crate::relayd::State;
use crate::world::World;

/// Whether the last heartbeat says that this attempt alone is held up, and for this reason.
pub(crate) fn blocked(state: &State, attempt: AttemptId, code: Code) -> bool {
    let Some(beat) = state.heartbeats.last() else { return false };
    let [one] = beat.blocked.as_slice() else { return false };
    let lasts = beat.at.duration_since(one.since);
    assert!(!lasts.is_negative() && lasts < SignedDuration::from_mins(5), "{lasts:?}");
    let named = (one.operation, one.attempt) == (attempt.operation, attempt.attempt);
    named && one.reason.code == code.as_str()
}

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
            full && !beat.accepting
        }) && blocked(state, attempt, Code::SpoolFull)
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
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Succeeded));
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
    let held = |state: &State| blocked(state, attempt, Code::SpoolFull);
    world.relayd.until("a heartbeat that says so", held).await;
    world.kill().await;
    let transcript = world.attempt_directory(attempt).transcript();
    let finished = || aegir_transcript::finished(&transcript).unwrap();
    assert_eq!(world.wait("the runner's end", finished).await.0.outcome, Outcome::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_spool_is_listed_exported_and_let_go_of() {
    let mut world = World::start("").await;
    world.relayd.state().receipts = false;
    let operation = world.operation("example.many", json!({"count": 1000}));
    let attempt = operation.attempt_id();
    let name = operation.id.to_string();
    world.relayd.submit(&operation).await;
    world.relayd.until("the transcript", |state| state.complete(attempt)).await;
    let listed = || world.command(&["spool", "ls"]).1.contains("finished").then_some(());
    world.wait("the runner's end", listed).await;
    let directory = world.attempt_directory(attempt);
    let written = std::fs::read(directory.transcript()).unwrap();
    let listed = world.command(&["spool", "ls"]).1;
    assert!(listed.contains(&attempt.to_string()) && listed.contains(&written.len().to_string()), "{listed}");

    let exported = world.started(&["spool", "export", &name]).output().unwrap();
    assert!(exported.status.success() && exported.stdout == written);
    let file = world.path("exported");
    let (code, said) = world.command(&["spool", "export", &name[..30], "-o", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert!(std::fs::read(&file).unwrap() == written);

    let (code, said) = world.command(&["spool", "forget", &name]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--yes") && directory.transcript().exists(), "{said}");
    assert_eq!(world.command(&["spool", "forget", "nothing", "--yes"]).0, Some(12));
    let (code, said) = world.command(&["spool", "forget", &name, "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    world.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = world.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (operation.id, Outcome::Lost));
    assert_eq!(report.reason.code, Code::SpoolForgotten.as_str());
    world.wait_for_tombstone(attempt).await;
    assert!(!directory.transcript().exists(), "the bytes are still there");
    assert!(world.command(&["spool", "ls"]).1.contains("relayd has received everything"));

    // Of what runs nobody lets go.
    let running = world.sleeper();
    world.relayd.submit(&running).await;
    world.relayd.until("output", |state| state.text(running.attempt_id()).contains("before")).await;
    let (code, said) = world.command(&["spool", "forget", &running.id.to_string(), "--yes"]);
    assert_eq!(code, Some(14), "{said}");

    // Without a daemon the bytes go at once, and relayd is told when one starts.
    world.kill().await;
    world.open_gate();
    let directory = world.attempt_directory(running.attempt_id());
    let gone = || (!aegir_attempt::lock::alive(&directory).unwrap()).then_some(());
    world.wait("the runner's end", gone).await;
    let (code, said) = world.command(&["spool", "forget", &running.id.to_string(), "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(std::fs::metadata(directory.transcript()).unwrap().len(), 0);
    world.restart();
    world.relayd.until("the other report", |state| state.reports.len() == 2).await;
    assert_eq!(world.relayd.state().reports[1].reason.code, Code::SpoolForgotten.as_str());
    world.wait_for_tombstone(running.attempt_id()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_relayd_does_not_know_is_listed_and_let_go_of_without_a_report() {
    let world = World::start("").await;
    world.relayd.state().unknown = true;
    let operation = world.operation("example.print", json!({}));
    world.relayd.submit(&operation).await;
    let listed = || world.command(&["spool", "ls"]).1.contains("relayd does not know it").then_some(());
    world.wait("the mark", listed).await;
    let (code, said) = world.command(&["spool", "forget", &operation.attempt_id().to_string(), "--yes"]);
    assert_eq!(code, Some(0), "{said}");
    let tombstone = world.wait_for_tombstone(operation.attempt_id()).await;
    assert_eq!(tombstone.reason.unwrap().code, Code::SpoolForgotten.as_str());
    assert!(world.relayd.state().reports.is_empty());
}
