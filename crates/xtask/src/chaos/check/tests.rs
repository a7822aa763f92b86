//! A checker that can't fail proves nothing: evidence of an Operation that went well, and one change for each
//! promise that breaks it.

use aegir_protocol::record::Stream;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::evidence::{What, *};
use super::super::order::{LoadKind, Order, Style};
use super::super::printed;
use super::{attempts, check};
use crate::random::Random;

const ID: &str = "019aab34-0000-7000-8000-000000000001";
const SECOND: u64 = 1_000_000_000;

fn order(number: u64) -> Order {
    let mut order = Order::generate(number, 60_000, &mut Random::new(1));
    (order.work, order.style, order.count, order.fails, order.target) =
        (LoadKind::Act, Style::Text, 25, 0, 1);
    order
}

fn mark(what: What, printed: usize, at: u64) -> Mark {
    Mark {
        what,
        attempt: 1,
        task: "act".to_owned(),
        item: 0,
        printed,
        monotonic: at * SECOND,
        wall: at * SECOND,
    }
}

fn transcript() -> Vec<u8> {
    let mut bytes =
        br#"{"seq":1,"at":"1970-01-01T00:00:10.000000Z","kind":"progress","body":{"task":1,"percent":5,"message":null}}"#
            .to_vec();
    bytes.push(b'\n');
    let sha256 = hex::encode(Sha256::digest(&bytes));
    let finished = json!({
        "seq": 2, "at": "1970-01-01T00:00:20.000000Z", "kind": "finished",
        "body": {
            "outcome": "succeeded", "reason": {"code": "completed", "message": "well"}, "records": 2, "sha256": sha256,
        },
    });
    // In the order in which a runner writes the fields.
    let line = format!(
        "{{\"seq\":2,\"at\":{},\"kind\":\"finished\",\"body\":{}}}\n",
        finished["at"], finished["body"]
    );
    bytes.extend(line.bytes());
    bytes
}

/// One Operation that succeeded at its first attempt, between the tenth and the twentieth second.
fn well() -> Evidence {
    let order = order(1);
    let raw = transcript();
    let ledger = |revision: u64, state: &str, at: &str| json!({"revision": revision, "attempt": 1, "state": state, "reason": null, "source": "node1", "at": at});
    let detail = json!({
        "summary": {
            "id": ID, "name": "chaos.act", "target": {"kind": "site", "id": "site1.test", "name": "site1.test"},
            "backend": "main", "state": "succeeded", "silent": false, "reason": null, "attempt": 1, "check": false,
            "requested_by": "order-1", "requested_at": "1970-01-01T00:00:09Z",
            "changed_at": "1970-01-01T00:00:21Z", "revision": 4, "cancel_requested": false,
        },
        "hosts": [], "variables": {}, "locks": [], "priority": 0, "timeout_seconds": null, "waits_for": [],
        "published": true, "paused": null,
        "attempts": [{
            "attempt": 1, "node": "node1", "outcome": "succeeded", "reason": null, "started_at": null,
            "ended_at": null, "transcript_bytes": raw.len(), "transcript_records": 2, "transcript_complete": true,
        }],
        "ledger": [
            ledger(1, "queued", "1970-01-01T00:00:09Z"), ledger(2, "claimed", "1970-01-01T00:00:09Z"),
            ledger(3, "running", "1970-01-01T00:00:10Z"), ledger(4, "succeeded", "1970-01-01T00:00:21Z"),
        ],
    });
    let (out, err) = (printed::stdout(&order, 1), printed::stderr(&order, 1));
    let marks = vec![mark(What::Start, 0, 11), mark(What::Tick, 40, 12), mark(What::End, out.len(), 19)];
    let attempt = Try {
        attempt: 1,
        raw: raw.clone(),
        copies: [("node1".to_owned(), raw)].into(),
        outputs: [((1, Stream::Stdout), out), ((1, Stream::Stderr), err)].into(),
    };
    Evidence {
        seed: 7,
        orders: vec![OrderEvidence {
            order,
            ids: [ID.to_owned()].into(),
            canceled: false,
            stored: vec![Stored { detail: serde_json::from_value(detail).unwrap(), attempts: vec![attempt] }],
            marks,
        }],
        ..Evidence::default()
    }
}

/// The promises that are not kept once this was done to evidence of what went well.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = well();
    change(&mut evidence);
    let mut promises: Vec<_> = check(&evidence).into_iter().map(|violation| violation.promised).collect();
    promises.dedup();
    promises
}

fn attempt(evidence: &mut Evidence) -> &mut Try {
    &mut evidence.orders[0].stored[0].attempts[0]
}

fn detail(evidence: &mut Evidence) -> &mut aegir_api::OperationDetail {
    &mut evidence.orders[0].stored[0].detail
}

/// The outcome of the only attempt, everywhere where it stands.
fn ends_as(evidence: &mut Evidence, state: &str, code: &str) {
    let detail = detail(evidence);
    let state: aegir_protocol::state::State = serde_json::from_value(json!(state)).unwrap();
    detail.summary.state = state;
    detail.ledger[3].state = state;
    detail.attempts[0].outcome = state.outcome();
    detail.attempts[0].reason = serde_json::from_value(json!({"code": code, "message": "because"})).unwrap();
}

#[test]
fn what_went_well_breaks_no_promise() {
    assert_eq!(check(&well()), []);
}

#[test]
fn a_byte_that_is_lost_repeated_or_changed_is_found() {
    const COPIES: &str = "both copies of a transcript are the same bytes, with the digest that it names";
    const OUTPUT: &str = "what a child printed is rebuilt byte for byte";
    assert_eq!(broken(|evidence| attempt(evidence).raw[30] ^= 1), [COPIES]);
    // In both copies: then only the digest can tell.
    assert_eq!(
        broken(|evidence| {
            let attempt = attempt(evidence);
            attempt.raw[30] ^= 1;
            attempt.copies = [("node1".to_owned(), attempt.raw.clone())].into();
        }),
        [COPIES]
    );
    let stdout = |evidence: &mut Evidence, change: fn(&mut Vec<u8>)| {
        change(attempt(evidence).outputs.get_mut(&(1, Stream::Stdout)).unwrap());
    };
    assert_eq!(broken(|evidence| stdout(evidence, |bytes| bytes.truncate(bytes.len() - 1))), [OUTPUT]);
    assert_eq!(broken(|evidence| stdout(evidence, |bytes| bytes.push(b'x'))), [OUTPUT]);
    assert_eq!(broken(|evidence| stdout(evidence, |bytes| bytes[40] ^= 1)), [OUTPUT]);
}

#[test]
fn what_a_stopped_child_had_put_on_the_pipe_must_be_there() {
    let stopped = |evidence: &mut Evidence| {
        ends_as(evidence, "canceled", "canceled_by_request");
        evidence.orders[0].canceled = true;
        evidence.orders[0].marks.pop();
    };
    let cut = |evidence: &mut Evidence, length| {
        stopped(evidence);
        attempt(evidence).outputs.get_mut(&(1, Stream::Stdout)).unwrap().truncate(length);
    };
    assert_eq!(broken(|evidence| cut(evidence, 40)), [""; 0]);
    assert_eq!(broken(|evidence| cut(evidence, 39)), ["what a child printed is rebuilt byte for byte"]);
}

#[test]
fn a_transcript_without_an_end_is_only_forgiven_to_a_killed_runner() {
    let unfinished = |evidence: &mut Evidence| {
        ends_as(evidence, "lost", "runner_gone");
        let length = attempt(evidence).raw.len() / 3;
        attempt(evidence).raw.truncate(length);
        detail(evidence).attempts[0].transcript_bytes = length as u64;
        detail(evidence).attempts[0].transcript_complete = false;
    };
    let killed = |evidence: &mut Evidence| evidence.runners_killed.extend([(ID.to_owned(), 1)]);
    assert_eq!(
        broken(unfinished),
        [
            "only a killed runner, or the end of a lease, makes an attempt lost",
            "a transcript whose runner was not killed arrives whole",
        ]
    );
    assert_eq!(
        broken(|evidence| {
            unfinished(evidence);
            killed(evidence);
        }),
        [""; 0]
    );
}

#[test]
fn two_ends_none_or_the_wrong_one_are_found() {
    const ONE_END: &str = "each stored Operation ends, and each attempt at it once";
    assert_eq!(
        broken(|evidence| detail(evidence).summary.state = serde_json::from_value(json!("running")).unwrap()),
        [ONE_END]
    );
    assert_eq!(
        broken(|evidence| {
            let again = detail(evidence).ledger[3].clone();
            detail(evidence).ledger.push(again);
        }),
        [ONE_END]
    );
    for (state, code, promised) in [
        ("failed", "task_failed", "no fault of a daemon, the broker or the network fails an Operation"),
        ("lost", "lease_expired", "only a killed runner, or the end of a lease, makes an attempt lost"),
        ("canceled", "canceled_by_request", "what nobody called off is not canceled"),
        ("rejected", "role_invalid", "what was accepted is not rejected"),
    ] {
        assert_eq!(broken(|evidence| ends_as(evidence, state, code)), [promised]);
    }
}

#[test]
fn a_task_that_runs_twice_or_not_to_its_end_is_found() {
    assert_eq!(
        broken(|evidence| evidence.orders[0].marks.push(mark(What::Start, 0, 13))),
        ["each Task runs once in an attempt"]
    );
    assert_eq!(
        broken(|evidence| drop(evidence.orders[0].marks.pop())),
        ["what succeeded has run every Task to its end"]
    );
    assert_eq!(
        broken(|evidence| evidence.orders[0].marks.push(mark(What::Tick, 50, 22))),
        ["nothing acts after its end"]
    );
    assert_eq!(
        broken(|evidence| {
            let copy = attempt(evidence).raw.clone();
            attempt(evidence).copies.insert("node2".to_owned(), copy);
        }),
        ["one node runs an attempt"]
    );
}

#[test]
fn what_acts_without_its_lock_is_found() {
    let other = |from, to| {
        move |evidence: &mut Evidence| {
            let marks = vec![mark(What::Start, 0, from), mark(What::Tick, 40, to)];
            let seen =
                OrderEvidence { order: order(2), stored: Vec::new(), marks, ..evidence.orders[0].clone() };
            evidence.orders.push(seen);
        }
    };
    let overlaps = |from, to| {
        broken(other(from, to))
            .into_iter()
            .any(|promised| promised == "no two attempts act on a target at once")
    };
    assert!(overlaps(18, 25) && overlaps(5, 12) && overlaps(12, 13) && overlaps(5, 25));
    assert!(!overlaps(20, 25) && !overlaps(2, 10));
}

#[test]
fn a_second_operation_for_the_same_key_is_found() {
    let promised = ["the same idempotency key gives one Operation"];
    assert_eq!(broken(|evidence| evidence.orders[0].ids.extend(["another".to_owned()])), promised);
    assert_eq!(
        broken(|evidence| {
            let again = evidence.orders[0].stored[0].clone();
            evidence.orders[0].stored.push(again);
        }),
        promised
    );
    assert_eq!(broken(|evidence| evidence.orders[0].stored.clear()), promised);
}

#[test]
fn what_an_earlier_attempt_has_finished_is_looked_for_there() {
    let mut evidence = well();
    let started = json!({
        "seq": 1, "at": "1970-01-01T00:00:10Z", "kind": "started",
        "body": {
            "operation": ID, "attempt": 1, "name": "chaos.chain", "node": "node1", "version": "0", "check": false,
            "target": {"kind": "site", "id": "site1.test", "name": "site1.test"},
            "tasks": [
                {"role": "chaos", "name": "act", "title": "Act", "done_in": 1},
                {"role": "chaos", "name": "minion", "title": "Act there"},
            ],
        },
    });
    evidence.orders[0].stored[0].attempts[0].raw = format!("{started}\n").into_bytes();
    let stored = &evidence.orders[0].stored[0];
    let done_in = |attempt, task| attempts::done_in(stored, attempt, task);
    assert_eq!((done_in(1, "act"), done_in(1, "minion"), done_in(2, "act")), (Some(1), None, None));
}
