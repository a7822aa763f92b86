//! No room for what children print: nothing is lost, and it goes on by itself.

use std::fs::File;

use aegir_attempt::lock::{alive, locked};
use aegir_attempt::plan::TaskAction;
use aegir_catalog::manifest::{Argument, RunsOn};
use aegir_protocol::record::{Remains, StepStatus, Stream};
use aegir_testkit::{SmallDisk, TestMinion};
use rustix::fs::{FlockOperation, flock};

use crate::case::{Case, Running, runs, unique_seconds};

/// A case whose journal is on a disk of its own, with about so much room left.
fn on_a_small_disk(leave: u64) -> Option<(SmallDisk, Case)> {
    let case = Case::new();
    let disk = SmallDisk::mount(&case.path("state"), "8m").unwrap()?;
    disk.fill(leave).unwrap();
    Some((disk, case))
}

fn until_full(running: &mut Running) {
    running.until("the runner says that the disk is full", |case| {
        locked(&case.directory().full()).unwrap_or(false)
    });
}

#[test]
fn a_full_disk_holds_a_child_up_and_loses_nothing() {
    let Some((disk, case)) = on_a_small_disk(512 * 1024) else { return };
    let mut running = case.script("seq 1 300000; echo failing >&2; exit 3").start();
    until_full(&mut running);
    disk.make_room().unwrap();
    let ended = running.wait().expect("failed", "task_failed");
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).collect();
    assert!(ended.text(Stream::Stdout) == expected, "what was printed differs");
    assert_eq!(ended.text(Stream::Stderr), "failing\n");
    assert_eq!(ended.exit().code, Some(3));
    assert!(!locked(&ended.case.directory().full()).unwrap());
}

#[test]
fn a_child_that_ends_before_there_is_room_is_read_to_its_end() {
    let Some((disk, case)) = on_a_small_disk(160 * 1024) else { return };
    // More than the disk takes, and what it does not take fits into a pipe: the child ends.
    let script = format!("head -c 190000 /dev/zero | tr '\\000' x # {}", unique_seconds());
    let mut running = case.script(&script).start();
    until_full(&mut running);
    running.until("the child's end", |_| !runs(&script));
    disk.make_room().unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.printed(Stream::Stdout).len(), 190_000);
}

#[test]
fn a_cancel_ends_a_task_whose_disk_is_full() {
    let Some((disk, case)) = on_a_small_disk(512 * 1024) else { return };
    let word = unique_seconds();
    let mut running = case.program(&["yes", &word]).start();
    until_full(&mut running);
    running.cancel();
    running.until("the child's end", |_| !runs(&word));
    disk.make_room().unwrap();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.task_finished().local, Remains::Gone);
    let line = format!("{word}\n");
    let printed = ended.text(Stream::Stdout);
    assert!(printed.len() > 512 * 1024 / 2, "{}", printed.len());
    let whole = printed.len() / line.len();
    assert!(printed.starts_with(&line.repeat(whole)), "what was printed differs");
}

#[test]
fn a_time_that_is_over_ends_a_task_whose_disk_is_full() {
    let Some((disk, mut case)) = on_a_small_disk(512 * 1024) else { return };
    let word = unique_seconds();
    case = case.program(&["yes", &word]);
    case.plan.tasks[0].timeout_seconds = 2;
    let mut running = case.start();
    until_full(&mut running);
    running.until("the child's end", |_| !runs(&word));
    disk.make_room().unwrap();
    running.wait().expect("failed", "timed_out");
}

#[test]
fn a_task_begins_when_there_is_room() {
    let Some((disk, case)) = on_a_small_disk(32 * 1024) else { return };
    let mut running = case.script("echo one").script("echo two").start();
    until_full(&mut running);
    assert!(!running.transcript().contains("task_started"));
    disk.make_room().unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), "one\ntwo\n");
}

/// A runner that has its lock, as dispatcherd makes it, on a disk that holds no further file.
fn before_its_transcript(called_off: bool) -> Option<(SmallDisk, Running)> {
    let case = Case::new().script("echo one");
    let disk = SmallDisk::mount(&case.path("state"), "8m").unwrap()?;
    let directory = case.directory();
    case.write();
    File::create(directory.lock()).unwrap();
    if called_off {
        // For more than an empty file a full disk has no room.
        File::create(directory.cancel()).unwrap();
    }
    disk.fill_with_files(0).unwrap();
    let mut running = case.spawn();
    running.until("the runner has its lock", |case| alive(&case.directory()).unwrap());
    Some((disk, running))
}

#[test]
fn a_runner_begins_its_transcript_when_there_is_room() {
    let Some((disk, running)) = before_its_transcript(false) else { return };
    assert!(!running.case.directory().transcript().exists());
    disk.make_room().unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), "one\n");
}

#[test]
fn what_is_canceled_before_there_is_room_begins_no_task() {
    let Some((disk, running)) = before_its_transcript(true) else { return };
    disk.make_room().unwrap();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert!(!ended.transcript().contains("task_started"), "{}", ended.transcript());
}

fn until_a_task_waits(running: &mut Running) {
    running.until("a Task waits", |case| case.errors().contains("a Task waits for room"));
}

/// A Task that says how long its secret is, with no room for that where secrets are kept. Gives the length too.
fn without_room_for_its_secret() -> Option<(SmallDisk, Case, usize)> {
    let case = Case::new();
    let disk = SmallDisk::mount(&case.path("run"), "1m").unwrap()?;
    let line = |_| format!("{}\n", uuid::Uuid::new_v4().simple());
    let secret: String = (0..200).map(line).collect();
    let password = case.seal(&secret);
    let argv = ["/bin/sh", "-c", "wc -c < \"$AEGIR_SECRETS/password\""];
    let argv = argv.map(|word| Argument::Text(word.to_owned())).to_vec();
    let program = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let case = case.task("run", program, &[("password", password)]);
    disk.fill(4096).unwrap();
    Some((disk, case, secret.len()))
}

#[test]
fn a_task_begins_when_there_is_room_for_its_secrets() {
    let Some((disk, case, length)) = without_room_for_its_secret() else { return };
    let mut running = case.start();
    until_a_task_waits(&mut running);
    until_full(&mut running);
    disk.make_room().unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), format!("{length}\n"));
}

#[test]
fn the_time_of_a_task_that_waits_for_room_runs() {
    let Some((disk, mut case, _)) = without_room_for_its_secret() else { return };
    case.plan.tasks[0].timeout_seconds = 2;
    let mut running = case.start();
    running.until("its end without room", |case| {
        std::fs::read_to_string(case.directory().transcript()).is_ok_and(|text| text.contains("timed_out"))
    });
    disk.make_room().unwrap();
    let ended = running.wait().expect("failed", "timed_out");
    assert_eq!(ended.text(Stream::Stdout), "");
}

#[tokio::test]
async fn a_task_file_is_run_when_there_is_room_for_its_variables() {
    let case = Case::new();
    let minion = TestMinion::start(&case.path("web1")).await.unwrap();
    let Some(disk) = SmallDisk::mount(&case.path("state"), "8m").unwrap() else { return };
    let tasks = "- name: Measure\n  ansible.builtin.assert:\n    that: example_text | length == 300000\n";
    let text = serde_json::json!("x".repeat(300_000));
    let case = case.minion("web1", &minion).task_file("measure", tasks, &[("text", text)]);
    case.write();
    // Enough for most Tasks.
    disk.fill(200_000).unwrap();
    let mut running = case.spawn();
    until_a_task_waits(&mut running);
    disk.make_room().unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.step("Measure").status, StepStatus::Ok);
}

#[tokio::test]
async fn a_minion_is_reached_when_there_is_room_for_a_connection() {
    // The directory of sockets, the known hosts, the lock, the socket, its place.
    for files in 0..5 {
        let case = Case::new();
        let minion = TestMinion::start(&case.path("web1")).await.unwrap();
        let Some(disk) = SmallDisk::mount(&case.path("run"), "1m").unwrap() else { return };
        disk.fill_with_files(files).unwrap();
        let mut running = case.minion("web1", &minion).remote_script("echo there").start();
        until_a_task_waits(&mut running);
        disk.make_room().unwrap();
        let ended = running.wait().expect("succeeded", "completed");
        assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"there\n");
    }
}

#[test]
fn a_full_spool_holds_the_next_task_up_until_dispatcherd_lets_go_or_dies() {
    let case = Case::new().script("echo one");
    let directory = case.directory();
    std::fs::create_dir_all(directory.path()).unwrap();
    let hold = File::create(directory.hold()).unwrap();
    flock(&hold, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut running = case.start();
    running.until("the start", |case| case.directory().transcript().exists());
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.printed(Stream::Stdout), b"");

    let case = Case::new().script("echo one");
    std::fs::create_dir_all(case.directory().path()).unwrap();
    // The file is still there, as a dispatcherd that was killed leaves it; nobody holds its lock.
    drop(File::create(case.directory().hold()).unwrap());
    case.run().expect("succeeded", "completed");
}
