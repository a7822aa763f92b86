//! What happens to Operations when something breaks.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use aegir_attempt::lock::alive;
use aegir_protocol::code::Code;
use aegir_protocol::operation::{Host, HostKey, Operation};
use aegir_protocol::state::{Outcome, Reason};
use aegir_testkit::TestMinion;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_attempt_does_not_notice_that_dispatcherd_is_killed() {
    let mut world = World::start("transcript_retention_seconds = 3600").await;
    let operation = world.sleeper();
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
    world.kill().await;
    assert!(alive(&world.attempt_directory(attempt)).unwrap());
    world.restart();
    world.open_gate();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Succeeded));
    let text = world.relayd.state().text(attempt);
    assert_eq!((text.matches("before").count(), text.matches("after").count()), (1, 1), "{text}");
    let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    assert_eq!(world.relayd.state().claims.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_while_dispatcherd_was_away_is_shipped_when_it_is_back() {
    let mut world = World::start("").await;
    let operation = world.sleeper();
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
    world.kill().await;
    world.open_gate();
    let directory = world.attempt_directory(attempt);
    world.wait("the runner's end", || (!alive(&directory).ok()?).then_some(())).await;
    world.restart();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    world.cleared(attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_journaled_is_claimed_again_after_a_restart() {
    let mut world = World::start("").await;
    world.relayd.state().grant = None;
    let operation = world.operation("example.print", json!({}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("the claim", |state| state.claims.len() == 1).await;
    world.kill().await;
    world.relayd.state().grant = Some(true);
    world.restart();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    assert_eq!(world.relayd.state().claims.len(), 2);
    world.cleared(attempt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_is_killed_is_reported_and_its_child_ended() {
    let world = World::start("").await;
    let operation = world.sleeper();
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
    let directory = world.attempt_directory(attempt);
    let child: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.child()).unwrap()).unwrap();
    let child = child["group"].as_i64().unwrap();
    assert!(runs(child));
    kill_process(runner_of(directory.path()), Signal::KILL).unwrap();
    world.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = world.relayd.state().reports[0].clone();
    assert_eq!((report.operation, report.outcome), (operation.id, Outcome::Lost));
    assert_eq!(report.reason.code, Code::RunnerGone.as_str());
    assert!(!runs(child), "the child is still there");
    assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Lost));
    let written = std::fs::read(directory.transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "what there was has arrived");
}

/// A world with a minion, and an Operation that sleeps on that.
async fn lingering() -> (World, TestMinion, Operation) {
    let (world, minion) = World::with_a_minion().await;
    let mut operation = world.operation("example.linger", json!({}));
    let mut host = Host::named("web1".parse().unwrap());
    host.address = Some("127.0.0.1".parse().unwrap());
    host.port = Some(minion.port);
    host.user = Some(minion.user.parse().unwrap());
    host.host_keys = vec![HostKey::try_from(minion.host_key.clone()).unwrap()];
    operation.hosts.push(host);
    (world, minion, operation)
}

/// Submits it, and gives the process that sleeps on the minion.
async fn sleeper_of(world: &World, operation: &Operation) -> i64 {
    let attempt = operation.attempt_id();
    world.relayd.submit(operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("sleeper ")).await;
    let text = world.relayd.state().text(attempt);
    let words = text.split_once("sleeper ").unwrap().1;
    words.split(' ').next().unwrap().parse().unwrap()
}

async fn lost_because(world: &World) -> Reason {
    world.relayd.until("the report", |state| !state.reports.is_empty()).await;
    let report = world.relayd.state().reports[0].clone();
    assert_eq!((report.outcome, report.reason.code.as_str()), (Outcome::Lost, Code::RunnerGone.as_str()));
    report.reason
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_runner_left_on_a_minion_is_ended_and_its_reason_says_so() {
    let (world, _minion, operation) = lingering().await;
    let sleeper = sleeper_of(&world, &operation).await;
    assert!(runs(sleeper));
    kill_process(runner_of(world.attempt_directory(operation.attempt_id()).path()), Signal::KILL).unwrap();
    let message = lost_because(&world).await.message;
    assert!(message.contains("; nothing that it started is left on the node, web1."), "{message}");
    assert!(!runs(sleeper), "it still runs on the minion");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minion_where_nobody_can_look_after_a_runner_is_named_in_the_reason() {
    let (mut world, mut minion, operation) = lingering().await;
    sleeper_of(&world, &operation).await;
    let attempt = operation.attempt_id();
    // As when the machine goes down.
    world.kill().await;
    kill_process(runner_of(world.attempt_directory(attempt).path()), Signal::KILL).unwrap();
    minion.kill().await.unwrap();
    world.restart();
    let message = lost_because(&world).await.message;
    assert!(message.contains("; nothing that it started is left on the node; "), "{message}");
    let unknown = format!(
        "whether anything that it started is left on web1 is not known: can't reach minion web1 ({}@127.0.0.1, port \
         {}): connect to host 127.0.0.1 port {1}: Connection refused.",
        minion.user, minion.port
    );
    assert!(message.contains(&unknown), "{message}");
    let look = format!("`grep -lszx AEGIR_ATTEMPT={attempt} /proc/[0-9]*/environ` as root on web1 lists it");
    assert!(message.contains(&look), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_costs_nothing() {
    let mut world =
        World::on(aegir_testkit::Broker::private().await.unwrap(), "transcript_retention_seconds = 3600")
            .await;
    let operation = world.sleeper();
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
    world.broker.stop().await.unwrap();
    world.open_gate();
    let directory = world.attempt_directory(attempt);
    world.wait("the runner's end", || (!alive(&directory).ok()?).then_some(())).await;
    world.broker.restart().await.unwrap();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
    world.wait_for_tombstone(attempt).await;
    let written = std::fs::read(directory.transcript()).unwrap();
    assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn dispatcherd_stops_within_two_seconds_and_its_runners_go_on() {
    let mut world = World::start("").await;
    let operation = world.sleeper();
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
    let begun = Instant::now();
    let status = world.dispatcherd.terminate(Duration::from_secs(10)).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(alive(&world.attempt_directory(attempt)).unwrap());
    world.restart();
    world.open_gate();
    world.relayd.until("the end", |state| state.complete(attempt)).await;
}

/// Puts another file in the place of a program, as a package does. It runs the same: there is more behind its end.
fn upgrade(program: &Path) {
    let new = program.with_extension("new");
    std::fs::copy(program, &new).unwrap();
    std::fs::File::options().append(true).open(&new).unwrap().write_all(b"new").unwrap();
    std::fs::rename(&new, program).unwrap();
}

/// Whether an attempt's runner runs this very file.
fn is_run_by(program: &Path, runner: Pid) -> bool {
    let file = |path: &Path| std::fs::metadata(path).unwrap().ino();
    file(program) == file(Path::new(&format!("/proc/{}/exe", runner.as_raw_nonzero())))
}

async fn runs_over_an_upgrade(how: Signal) {
    let mut world = World::start("transcript_retention_seconds = 3600").await;
    world.kill().await;
    let copy = world.path("dispatcherd");
    std::fs::copy(&world.program, &copy).unwrap();
    world.program = copy;
    world.restart();
    let started = async |world: &World| {
        let operation = world.operation("example.sleep", json!({"gate": world.path("gate"), "code": 3}));
        let attempt = operation.attempt_id();
        world.relayd.submit(&operation).await;
        world.relayd.until("output", |state| state.text(attempt).contains("before")).await;
        (attempt, runner_of(world.attempt_directory(attempt).path()))
    };
    let (first, runner) = started(&world).await;
    assert!(is_run_by(&world.program, runner));

    upgrade(&world.program);
    world.dispatcherd.signal(how).unwrap();
    world.dispatcherd.wait(Duration::from_secs(10)).await.unwrap();
    world.restart();
    let (second, next) = started(&world).await;
    assert!(is_run_by(&world.program, next), "the new runner is the old program");
    assert!(!is_run_by(&world.program, runner), "the old runner is another program");

    world.open_gate();
    for attempt in [first, second] {
        world.relayd.until("the end", |state| state.complete(attempt)).await;
        assert_eq!(world.wait_for_tombstone(attempt).await.outcome, Some(Outcome::Failed));
        let text = world.relayd.state().text(attempt);
        assert!(text.contains(r#""exit":{"code":3,"#), "{text}");
        assert_eq!((text.matches("before").count(), text.matches("after").count()), (1, 1), "{text}");
        let written = std::fs::read(world.attempt_directory(attempt).transcript()).unwrap();
        assert!(world.relayd.state().transcripts[&attempt] == written, "the copies differ");
    }
    assert_eq!(world.relayd.state().claims.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_attempt_does_not_notice_an_upgrade() {
    runs_over_an_upgrade(Signal::TERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_attempt_does_not_notice_an_upgrade_after_a_crash() {
    runs_over_an_upgrade(Signal::KILL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_never_came_are_asked_for() {
    let world = World::start("").await;
    world.relayd.state().receipts = false;
    let operation = world.operation("example.print", json!({}));
    let attempt = operation.attempt_id();
    world.relayd.submit(&operation).await;
    world.relayd.until("the transcript", |state| state.complete(attempt)).await;
    world.relayd.state().receipts = true;
    world.cleared(attempt).await;
}

/// Whether there is such a process that has not ended; one that nobody waits for stays in the table.
fn runs(id: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The process that was started as `dispatcherd runner DIRECTORY`.
fn runner_of(directory: &Path) -> Pid {
    let wanted = directory.as_os_str().as_encoded_bytes();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let mut words = line.split(|&byte| byte == 0);
        if words.any(|word| word == b"runner") && words.next() == Some(wanted) {
            return Pid::from_raw(id).unwrap();
        }
    }
    panic!("no runner of {}", directory.display());
}
