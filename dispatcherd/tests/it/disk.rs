//! A state directory that is full or read-only, and too many open files.

use std::path::Path;
use std::process::Command;

use aegir_attempt::lock::alive;
use aegir_protocol::code::Code;
use aegir_protocol::message::Grant;
use aegir_protocol::operation::Operation;
use aegir_protocol::state::Outcome;
use aegir_testkit::SmallDisk;
use serde_json::json;

use crate::relayd::State;
use crate::spool::blocked;
use crate::world::World;

/// Starts a dispatcherd that can't start; gives its exit code and what it says.
fn refused(state: &Path) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = format!(
        "node = \"n1\"\nstate_directory = {state:?}\nruntime_directory = \"run\"\nroles = [{:?}]\n\
         [ansible]\nplugins = {:?}\n",
        here.join("tests/roles"),
        here.join("ansible"),
    );
    let file = directory.path().join("dispatcherd.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcherd"));
    let output = command.arg("serve").arg("--config").arg(file).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_state_directory_that_takes_nothing_is_said_at_the_start() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "64k").unwrap() else { return };
    disk.read_only(true).unwrap();
    let (code, said) = refused(disk.path());
    assert_eq!(code, Some(22), "{said}");
    assert!(said.contains("mounted read-write"), "{said}");
    disk.read_only(false).unwrap();
    disk.fill(0).unwrap();
    let (code, said) = refused(disk.path());
    assert_eq!(code, Some(22), "{said}");
    assert!(said.contains("make room"), "{said}");
}

fn closed_by(code: Code) -> impl Fn(&State) -> bool {
    move |state| {
        let last = state.heartbeats.last();
        let said = last.and_then(|beat| beat.closed.as_ref());
        said.is_some_and(|reason| reason.code == code.as_str()) && last.is_some_and(|beat| !beat.accepting)
    }
}

fn accepting(state: &State) -> bool {
    state.heartbeats.last().is_some_and(|beat| beat.accepting && beat.closed.is_none())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_closes_the_intake_and_loses_nothing() {
    let Some((disk, world)) = World::on_a_small_disk("4m", "").await else { return };
    world.relayd.until("a heartbeat", accepting).await;
    disk.fill(0).unwrap();
    let operations: Vec<_> = (0..3).map(|_| world.operation("example.print", json!({}))).collect();
    for operation in &operations {
        world.relayd.submit(operation).await;
    }
    world.relayd.until("a heartbeat that says so", closed_by(Code::DiskFull)).await;
    assert!(world.relayd.state().claims.is_empty());
    disk.make_room().unwrap();
    for operation in &operations {
        world.relayd.until("the end", |state| state.complete(operation.attempt_id())).await;
        assert_eq!(world.wait_for_tombstone(operation.attempt_id()).await.outcome, Some(Outcome::Succeeded));
    }
    world.relayd.until("a heartbeat that takes it back", accepting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_under_a_task_is_shown_and_waited_for() {
    let settings = "transcript_retention_seconds = 3600";
    let Some((disk, world)) = World::on_a_small_disk("8m", settings).await else { return };
    world.relayd.until("a heartbeat", accepting).await;
    disk.fill(512 * 1024).unwrap();
    let operation = world.operation("example.many", json!({"count": 300_000}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    let blocked = |state: &State| blocked(state, attempt, Code::DiskFull);
    world.relayd.until("a heartbeat that says so", blocked).await;
    disk.make_room().unwrap();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Succeeded));
    let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    assert!(written.windows(7).any(|window| window == b"300000\\"), "the last line is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_room_for_a_changed_role_starts_and_takes_nothing() {
    let Some((disk, mut world)) = World::on_a_small_disk("4m", "").await else { return };
    world.relayd.until("a heartbeat", accepting).await;
    let (running, granted) = (world.sleeper(), world.operation("example.print", json!({})));
    world.relayd.submit(&running).await;
    let runs = || alive(&world.attempt_directory(running.attempt_id())).unwrap_or(false);
    world.wait("a runner", || runs().then_some(())).await;
    world.relayd.state().grant = None;
    world.relayd.submit(&granted).await;
    let claimed = |state: &State| state.claims.iter().any(|claim| claim.operation == granted.id);
    world.relayd.until("the claim", claimed).await;
    world.kill().await;
    // As if the roles were others than those of which there are copies.
    std::fs::remove_dir_all(world.path("state/content")).unwrap();
    world.relayd.state().claims.clear();
    disk.fill(0).unwrap();
    world.restart();
    world.relayd.until("a heartbeat that says so", closed_by(Code::DiskFull)).await;
    world.relayd.until("the claim", claimed).await;
    let claim =
        Grant { operation: granted.id, attempt: granted.attempt, granted: true, reason: None, lease: None };
    world.relayd.send(&world.node, &claim).await;
    let shown = |state: &State| blocked(state, granted.attempt_id(), Code::DiskFull);
    world.relayd.until("a heartbeat that shows the granted one", shown).await;
    disk.make_room().unwrap();
    world.relayd.state().grant = Some(true);
    world.open_gate();
    for operation in [&running, &granted] {
        succeeds(&world, operation).await;
    }
    world.relayd.until("a heartbeat that takes it back", accepting).await;
}

/// An attempt that relayd is about to be asked for.
async fn claimed(world: &World) -> Operation {
    let operation = world.operation("example.print", json!({}));
    let claims = world.relayd.state().claims.len();
    world.relayd.state().grant = None;
    world.relayd.submit(&operation).await;
    world.relayd.until("the claim", |state| state.claims.len() > claims).await;
    operation
}

/// Grants it, and waits until it has either begun or can't.
async fn granted(world: &World, operation: &Operation) {
    let attempt = operation.attempt_id();
    let claims = world.relayd.state().claims.len();
    world.relayd.state().grant = Some(true);
    let (operation, number) = (attempt.operation, attempt.attempt);
    let grant = Grant { operation, attempt: number, granted: true, reason: None, lease: None };
    world.relayd.send(&world.node, &grant).await;
    let directory = world.attempt_directory(attempt);
    let waits = || world.relayd.state().claims.len() > claims;
    let begun = || world.relayd.state().complete(attempt) || alive(&directory).unwrap_or(false);
    world.wait("a sign of it", || (waits() || begun()).then_some(())).await;
}

async fn succeeds(world: &World, operation: &Operation) {
    let attempt = operation.attempt_id();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Succeeded));
    assert_eq!(world.relayd.state().text(attempt).matches("task_started").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_attempt_waits_for_room_whatever_it_lacks_it_for() {
    let Some((disk, world)) = World::on_a_small_disk("4m", "").await else { return };
    world.relayd.until("a heartbeat", accepting).await;
    // Each file more is enough for one step more: plan, log, lock, transcript, what a Task needs.
    for files in 0..6 {
        let operation = claimed(&world).await;
        disk.fill_with_files(files).unwrap();
        granted(&world, &operation).await;
        disk.make_room().unwrap();
        succeeds(&world, &operation).await;
    }
    for pages in 0..4 {
        let operation = claimed(&world).await;
        disk.fill(pages * 4096).unwrap();
        granted(&world, &operation).await;
        disk.make_room().unwrap();
        succeeds(&world, &operation).await;
    }
    assert!(world.relayd.state().reports.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_canceled_while_it_waits_for_room_never_begins() {
    let Some((disk, world)) = World::on_a_small_disk("4m", "").await else { return };
    world.relayd.until("a heartbeat", accepting).await;
    // Before it has a runner, and with room for that but not for its Task.
    for pages in [0, 8] {
        let operation = claimed(&world).await;
        let attempt = operation.attempt_id();
        disk.fill(pages * 4096).unwrap();
        granted(&world, &operation).await;
        disk.fill(0).unwrap();
        world.relayd.cancel(&world.node, attempt).await;
        let directory = world.attempt_directory(attempt);
        // For its runner; or, while it is being asked for again, a report that has no room yet.
        let called_off = || directory.cancel().exists() || directory.report().with_extension("new").exists();
        world.wait("the cancel", || called_off().then_some(())).await;
        disk.make_room().unwrap();
        let tombstone = world.wait_for_tombstone(attempt).await;
        assert_eq!(tombstone.outcome, Some(Outcome::Canceled));
        assert!(!world.relayd.state().text(attempt).contains("task_started"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_open_files_are_waited_out() {
    let world = World::start("").await;
    world.relayd.until("a heartbeat", accepting).await;
    let limit = |files: &str| {
        let process = world.dispatcherd.id().to_string();
        let limit = format!("--nofile={files}:");
        assert!(Command::new("prlimit").args(["--pid", &process, &limit]).status().unwrap().success());
    };
    // Those that are open stay; no other can be opened.
    limit("3");
    let operation = world.operation("example.print", json!({}));
    world.relayd.submit(&operation).await;
    world.relayd.until("a heartbeat that says so", closed_by(Code::StateDirectoryUnwritable)).await;
    limit("1024");
    world.relayd.until("the end", |state| state.complete(operation.attempt_id())).await;
    assert_eq!(world.wait_for_tombstone(operation.attempt_id()).await.outcome, Some(Outcome::Succeeded));
    world.relayd.until("a heartbeat that takes it back", accepting).await;
}
