use std::time::{Duration, SystemTime};

use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::message::{self, Cancel, Lease, Report};
use aegir_protocol::state::Outcome;
use aegir_service::io_error::is_transient;
use aegir_testkit::SmallDisk;
use rustix::fs::{FlockOperation, flock};
use serde_json::json;

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn journal(retention: Duration) -> (tempfile::TempDir, Journal) {
    let state = tempfile::tempdir().unwrap();
    let journal = Journal::open(state.path(), retention).unwrap();
    (state, journal)
}

fn arrival() -> Arrival {
    let operation: aegir_protocol::operation::Operation = serde_json::from_value(json!({
        "id": OperationId::generate(), "attempt": 1, "name": "example.print", "backend": "main",
        "frontend": "main", "target": {"kind": "site", "id": "1", "name": "example.test"}, "hosts": [],
        "variables": {}, "locks": [], "requested_by": null, "requested_at": "2026-01-01T00:00:00Z",
        "timeout_seconds": null, "retry_of": null, "traceparent": null,
    }))
    .unwrap();
    Arrival { attempt: operation.attempt_id(), bytes: message::encode(&operation).into() }
}

fn lease(seconds: u64) -> Lease {
    Lease { asked_at: aegir_attempt::lease::boot_time(), seconds }
}

fn standings(journal: &Journal) -> Vec<(AttemptId, RecoveredState)> {
    journal.scan().unwrap().into_iter().map(|found| (found.attempt, found.state)).collect()
}

fn pending(attempt: AttemptId) -> PendingReport {
    let report = Report {
        operation: attempt.operation,
        attempt: attempt.attempt,
        node: "node1".parse().unwrap(),
        outcome: Outcome::Lost,
        reason: Code::RunnerGone.because("gone"),
    };
    PendingReport { frontend: "main".parse().unwrap(), report }
}

fn ended(attempt: AttemptId, outcome: Outcome) -> Tombstone {
    Tombstone::ended(attempt, outcome, Code::Completed.because("done"))
}

#[test]
fn what_is_taken_is_there_as_it_was_delivered() {
    let (_state, journal) = journal(Duration::ZERO);
    let (one, other) = (arrival(), arrival());
    assert_eq!(journal.take(&[one.clone(), other.clone()]).unwrap(), [Taken::New, Taken::New]);
    assert_eq!(std::fs::read(journal.directory(one.attempt).operation()).unwrap(), one.bytes);
    let expect = [(one.attempt, RecoveredState::Journaled), (other.attempt, RecoveredState::Journaled)];
    assert_eq!(standings(&journal), expect);
}

#[test]
fn what_comes_again_is_known_whatever_became_of_it() {
    let (_state, journal) = journal(Duration::ZERO);
    let arrival = arrival();
    let directory = journal.directory(arrival.attempt);
    let known = || assert_eq!(journal.take(std::slice::from_ref(&arrival)).unwrap(), [Taken::Known]);
    assert_eq!(journal.take(&[arrival.clone(), arrival.clone()]).unwrap(), [Taken::New, Taken::Known]);
    known();
    std::fs::write(directory.transcript(), "").unwrap();
    known();
    journal.keep_report(arrival.attempt, &pending(arrival.attempt)).unwrap();
    known();
    journal.end(&ended(arrival.attempt, Outcome::Succeeded)).unwrap();
    known();
    assert_eq!(standings(&journal), []);
}

#[test]
fn what_relayd_refused_may_come_again() {
    let (_state, journal) = journal(Duration::ZERO);
    let arrival = arrival();
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    journal.end(&Tombstone::refused(arrival.attempt, None)).unwrap();
    assert_eq!(standings(&journal), []);
    assert_eq!(journal.take(std::slice::from_ref(&arrival)).unwrap(), [Taken::New]);
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Journaled)]);
}

#[test]
fn a_torn_operation_is_taken_anew() {
    let (_state, journal) = journal(Duration::ZERO);
    let arrival = arrival();
    let torn = journal.directory(arrival.attempt).operation();
    for bytes in [&b""[..], &arrival.bytes[..40]] {
        journal.take(std::slice::from_ref(&arrival)).unwrap();
        std::fs::write(&torn, bytes).unwrap();
        // Found while it runs,
        assert_eq!(journal.take(std::slice::from_ref(&arrival)).unwrap(), [Taken::New]);
        // and at the start.
        std::fs::write(&torn, bytes).unwrap();
        assert_eq!(standings(&journal), []);
        assert!(!torn.exists());
    }
}

#[test]
fn where_an_attempt_stands_follows_from_its_files() {
    let (_state, journal) = journal(Duration::ZERO);
    let arrival = arrival();
    let directory = journal.directory(arrival.attempt);
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    std::fs::write(directory.plan(), "{}").unwrap();
    let lock = std::fs::File::create(directory.lock()).unwrap();
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Journaled)]);
    flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Started)]);
    drop(lock);
    std::fs::write(directory.transcript(), "").unwrap();
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Started)]);
    let pending = pending(arrival.attempt);
    journal.keep_report(arrival.attempt, &pending).unwrap();
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Reporting(pending))]);
    // Power may fail between the tombstone and the removal of the rest.
    std::fs::write(directory.tombstone(), "").unwrap();
    assert_eq!(standings(&journal), []);
}

#[test]
fn the_end_leaves_a_tombstone_and_nothing_else() {
    let (_state, journal) = journal(Duration::ZERO);
    let arrival = arrival();
    let directory = journal.directory(arrival.attempt);
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    std::fs::create_dir_all(directory.task(1, "print")).unwrap();
    std::fs::write(directory.transcript(), "x").unwrap();
    let tombstone = ended(arrival.attempt, Outcome::Failed);
    journal.end(&tombstone).unwrap();
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["ended.json"]);
    assert_eq!(Tombstone::read(&directory).unwrap(), tombstone);
}

#[test]
fn spools_and_tombstones_go_when_their_time_is_over() {
    let (_state, journal) = journal(Duration::from_secs(3600));
    let (done, lost) = (arrival(), arrival());
    journal.take(&[done.clone(), lost.clone()]).unwrap();
    journal.end(&ended(done.attempt, Outcome::Succeeded)).unwrap();
    journal.end(&ended(lost.attempt, Outcome::Lost)).unwrap();
    let there = |arrival: &Arrival| {
        let directory = journal.directory(arrival.attempt);
        (directory.operation().exists(), directory.tombstone().exists())
    };
    let now = SystemTime::now();
    assert_eq!(journal.prune(now).unwrap(), Pruned::default());
    assert_eq!(journal.prune(now + Duration::from_secs(3700)).unwrap(), Pruned { spools: 1, tombstones: 0 });
    assert_eq!((there(&done), there(&lost)), ((false, true), (true, true)));
    assert_eq!(journal.prune(now + 2 * DAY).unwrap(), Pruned { spools: 1, tombstones: 0 });
    assert_eq!(journal.prune(now + 31 * DAY).unwrap(), Pruned { spools: 0, tombstones: 2 });
    assert_eq!(std::fs::read_dir(journal.root()).unwrap().count(), 0);
}

#[test]
fn a_journal_that_can_not_be_written_takes_nothing() {
    let (state, journal) = journal(Duration::ZERO);
    let (good, bad) = (arrival(), arrival());
    // Where the second one's directory would be stands a file: the first is given back as well.
    let place = state.path().join("operations").join(bad.attempt.operation.to_string());
    std::fs::write(&place, "").unwrap();
    journal.take(&[good.clone(), bad.clone()]).unwrap_err();
    assert!(!journal.directory(good.attempt).operation().exists());
    std::fs::remove_file(&place).unwrap();
    assert_eq!(journal.take(&[good, bad]).unwrap(), [Taken::New, Taken::New]);
}

#[test]
fn what_is_not_an_attempt_is_left_alone() {
    let (state, journal) = journal(Duration::ZERO);
    let strange = state.path().join("operations/notes/1");
    std::fs::create_dir_all(&strange).unwrap();
    std::fs::create_dir_all(
        journal.directory(AttemptId { operation: OperationId::generate(), attempt: Attempt::FIRST }).path(),
    )
    .unwrap();
    assert_eq!(standings(&journal), []);
    assert!(strange.exists());
}

#[test]
fn a_wrong_clock_takes_nothing_away_that_relayd_may_still_need() {
    let (_state, journal) = journal(Duration::ZERO);
    let (journaled, started, reporting, over) = (arrival(), arrival(), arrival(), arrival());
    let all = [journaled, started.clone(), reporting.clone(), over.clone()];
    journal.take(&all).unwrap();
    std::fs::write(journal.directory(started.attempt).transcript(), "{}\n").unwrap();
    journal.keep_report(reporting.attempt, &pending(reporting.attempt)).unwrap();
    journal.end(&ended(over.attempt, Outcome::Succeeded)).unwrap();
    let before = journal.scan().unwrap();
    assert_eq!(before.len(), 3);
    let now = SystemTime::now();
    // Set back to the beginning of time: what is over is kept for longer, and nothing else happens.
    assert_eq!(journal.prune(SystemTime::UNIX_EPOCH).unwrap(), Pruned::default());
    assert!(journal.directory(over.attempt).tombstone().exists());
    // Set forward: only what is over goes.
    assert_eq!(journal.prune(now + 4000 * DAY).unwrap(), Pruned { spools: 0, tombstones: 1 });
    let standings =
        |found: &[RecoveredAttempt]| found.iter().map(|found| found.state.clone()).collect::<Vec<_>>();
    assert_eq!(standings(&journal.scan().unwrap()), standings(&before));
}

#[test]
fn a_read_only_file_system_takes_nothing_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "1m").unwrap() else { return };
    let journal = Journal::open(disk.path(), Duration::ZERO).unwrap();
    let arrival = arrival();
    disk.read_only(true).unwrap();
    let error = journal.take(std::slice::from_ref(&arrival)).unwrap_err();
    assert!(is_transient(&error.error), "{error}");
    disk.read_only(false).unwrap();
    assert_eq!(journal.scan().unwrap(), []);
    assert_eq!(journal.take(std::slice::from_ref(&arrival)).unwrap(), [Taken::New]);
}

#[test]
fn canceling_on_a_full_disk_needs_no_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "1m").unwrap() else { return };
    let journal = Journal::open(disk.path(), Duration::ZERO).unwrap();
    let arrival = arrival();
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    disk.fill(0).unwrap();
    let AttemptId { operation, attempt } = arrival.attempt;
    journal.write_cancel(&Cancel { operation, attempt, requested_by: None }).unwrap();
    assert!(journal.directory(arrival.attempt).cancel().exists());
}

#[test]
fn a_grant_that_comes_late_shortens_no_lease() {
    let place = tempfile::tempdir().unwrap();
    let journal = Journal::open(place.path(), Duration::ZERO).unwrap();
    let arrival = arrival();
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    let later = lease(900);
    journal.keep_lease(arrival.attempt, later).unwrap();
    journal.keep_lease(arrival.attempt, lease(10)).unwrap();
    assert_eq!(journal.lease(arrival.attempt), Some(later));
}

#[test]
fn renewing_a_lease_on_a_full_disk_needs_no_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "1m").unwrap() else { return };
    let journal = Journal::open(disk.path(), Duration::ZERO).unwrap();
    let arrival = arrival();
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    journal.keep_lease(arrival.attempt, lease(10)).unwrap();
    let fills: [fn(&SmallDisk) -> _; 2] = [|disk| disk.fill(0), |disk| disk.fill_with_files(0)];
    for (full, terms) in fills.into_iter().zip([[100, 10_000, 20_000], [30_000, 200_000, 300_000]]) {
        full(&disk).unwrap();
        for seconds in terms {
            let lease = lease(seconds);
            journal.keep_lease(arrival.attempt, lease).unwrap();
            assert_eq!(journal.lease(arrival.attempt), Some(lease));
        }
        disk.make_room().unwrap();
    }
}

#[test]
fn letting_go_on_a_full_disk_needs_no_room() {
    let place = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&place.path().join("state"), "1m").unwrap() else { return };
    let journal = Journal::open(disk.path(), Duration::ZERO).unwrap();
    let arrival = arrival();
    journal.take(std::slice::from_ref(&arrival)).unwrap();
    let transcript = journal.directory(arrival.attempt).transcript();
    std::fs::write(&transcript, vec![b'x'; 100_000]).unwrap();
    disk.fill(0).unwrap();
    let pending = pending(arrival.attempt);
    journal.forget_transcript(arrival.attempt, &pending).unwrap();
    assert!(!transcript.exists());
    assert_eq!(standings(&journal), [(arrival.attempt, RecoveredState::Reporting(pending))]);
}
