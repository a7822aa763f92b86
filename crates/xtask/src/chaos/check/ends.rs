//! Each attempt has one end, which is the one that it should have, and nothing acts after it.

use aegir_api::{AttemptDetail, LedgerEntry};
use aegir_protocol::state::{Outcome, State};

use super::super::evidence::{OrderEvidence, Stored};
use super::super::order::LoadKind;
use super::findings::{Findings, marks_of};

pub(super) fn check(seen: &OrderEvidence, stored: &Stored, findings: &mut Findings<'_>) {
    const ONE_END: &str = "each stored Operation ends, and each attempt at it once";
    let detail = &stored.detail;
    if detail.summary.state.outcome().is_none() {
        findings.add(seen, Some(stored), ONE_END, format!("it is still {}", detail.summary.state));
        return;
    }
    for attempt in &detail.attempts {
        let number = attempt.attempt;
        let ends: Vec<&LedgerEntry> = detail
            .ledger
            .iter()
            .filter(|entry| entry.attempt == number && entry.state.outcome().is_some())
            .collect();
        let [end] = ends[..] else {
            let states: Vec<State> = ends.iter().map(|entry| entry.state).collect();
            findings.add(seen, Some(stored), ONE_END, format!("attempt {number} ended as {states:?}"));
            continue;
        };
        if attempt.outcome != end.state.outcome() {
            let what = format!("attempt {number} is {:?}, the ledger says {}", attempt.outcome, end.state);
            findings.add(seen, Some(stored), ONE_END, what);
        }
        nothing_acts_after(seen, stored, attempt, end, findings);
        right(seen, stored, attempt, findings);
    }
    let last = detail.attempts.last().and_then(|attempt| attempt.outcome);
    if last != detail.summary.state.outcome() {
        let what = format!("it is {}, its last attempt {last:?}", detail.summary.state);
        findings.add(seen, Some(stored), ONE_END, what);
    }
}

/// What was called off, refused, given up or finished does not act any more.
fn nothing_acts_after(
    seen: &OrderEvidence,
    stored: &Stored,
    attempt: &AttemptDetail,
    end: &LedgerEntry,
    findings: &mut Findings<'_>,
) {
    let number = attempt.attempt.get();
    let at = findings.evidence.time.of(end.at);
    let late = marks_of(seen, number).filter(|mark| mark.wall > at).count();
    if late > 0 {
        let what =
            format!("attempt {number} was {} at {}, and left {late} marks after it", end.state, end.at);
        findings.add(seen, Some(stored), "nothing acts after its end", what);
    }
    if attempt.node.is_none() && marks_of(seen, number).next().is_some() {
        let what = format!("attempt {number}, which nobody had claimed, acted");
        findings.add(seen, Some(stored), "what was called off before it started never starts", what);
    }
}

/// Whether an attempt may have ended like this, given what was done to it.
fn right(seen: &OrderEvidence, stored: &Stored, attempt: &AttemptDetail, findings: &mut Findings<'_>) {
    let number = attempt.attempt.get();
    let key = (stored.detail.summary.id.to_string(), number);
    let evidence = findings.evidence;
    let runner_killed = evidence.runners_killed.contains(&key);
    let child_killed = evidence.children_killed.contains(&key);
    let code = attempt.reason.as_ref().map_or("", |reason| reason.code.as_str());
    let fails = number <= seen.order.fails;
    let promised = match attempt.outcome {
        None => return,
        Some(Outcome::Succeeded) if !fails => return,
        Some(Outcome::Succeeded) => "a Task that ends with 3 fails its Operation",
        Some(Outcome::Failed) if fails && code == "task_failed" => return,
        Some(Outcome::Failed) if child_killed && code == "task_failed" => return,
        Some(Outcome::Failed) => "no fault of a daemon, the broker or the network fails an Operation",
        Some(Outcome::Canceled) if seen.canceled => return,
        Some(Outcome::Canceled) => "what nobody called off is not canceled",
        // Before its first record, so that nothing had begun.
        Some(Outcome::Rejected) if runner_killed && code == "runner_failed" => return,
        Some(Outcome::Rejected) => "what was accepted is not rejected",
        Some(Outcome::Lost) if runner_killed && code == "runner_gone" => return,
        Some(Outcome::Lost) if seen.order.work == LoadKind::Leased && code == "lease_expired" => return,
        Some(Outcome::Lost) => "only a killed runner, or the end of a lease, makes an attempt lost",
    };
    let what = format!("attempt {number} ended as {:?}, {:?}", attempt.outcome, attempt.reason);
    findings.add(seen, Some(stored), promised, what);
}
