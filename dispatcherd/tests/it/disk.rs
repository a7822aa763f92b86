//! A state directory that is full or read-only, and too many open files.

use std::path::Path;
use std::process::Command;

use aegir_protocol::code::Code;
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
        assert_eq!(world.buried(operation.attempt_id()).await.outcome, Some(Outcome::Succeeded));
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
    assert_eq!(world.buried(attempt).await.outcome, Some(Outcome::Succeeded));
    let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    assert!(written.windows(7).any(|window| window == b"300000\\"), "the last line is missing");
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
    assert_eq!(world.buried(operation.attempt_id()).await.outcome, Some(Outcome::Succeeded));
    world.relayd.until("a heartbeat that takes it back", accepting).await;
}
