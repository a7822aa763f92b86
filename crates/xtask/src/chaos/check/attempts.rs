//! Tasks run as often as they should.

use std::collections::BTreeMap;

use aegir_protocol::id::Attempt;
use aegir_protocol::record::{Header, Record};
use aegir_protocol::state::Outcome;

use super::super::evidence::{OrderEvidence, Stored, What};
use super::findings::{Findings, marks_of};

pub(super) fn check(seen: &OrderEvidence, stored: &Stored, findings: &mut Findings<'_>) {
    once_in_an_attempt(seen, stored, findings);
    for attempt in &stored.detail.attempts {
        if attempt.outcome == Some(Outcome::Succeeded) {
            all_of_it(seen, stored, attempt.attempt.get(), findings);
        }
    }
    let known = stored.detail.attempts.len();
    let strange = seen.marks.iter().filter(|mark| mark.attempt as usize > known).count();
    if strange > 0 {
        let what = format!("{strange} marks of attempts after the last one, {known}");
        findings.add(seen, Some(stored), "only attempts that relayd knows act", what);
    }
}

fn once_in_an_attempt(seen: &OrderEvidence, stored: &Stored, findings: &mut Findings<'_>) {
    let mut starts: BTreeMap<(u32, &str, u32), u32> = BTreeMap::new();
    for mark in seen.marks.iter().filter(|mark| mark.what == What::Start) {
        *starts.entry((mark.attempt, mark.task.as_str(), mark.item)).or_default() += 1;
    }
    for ((attempt, task, item), times) in starts.into_iter().filter(|(_, times)| *times > 1) {
        let what = format!("attempt {attempt}: {task} (item {item}) was started {times} times");
        findings.add(seen, Some(stored), "each Task runs once in an attempt", what);
    }
}

/// What succeeded has done everything, or an earlier attempt has, of which it says so.
fn all_of_it(seen: &OrderEvidence, stored: &Stored, attempt: u32, findings: &mut Findings<'_>) {
    for task in seen.order.work.tasks() {
        let done_in = done_in(stored, attempt, task).unwrap_or(attempt);
        for item in seen.order.work.items() {
            let ended = marks_of(seen, done_in)
                .any(|mark| mark.what == What::End && mark.task == *task && mark.item == *item);
            if !ended {
                let what = format!("attempt {attempt} succeeded, and {task} (item {item}) did not end");
                findings.add(seen, Some(stored), "what succeeded has run every Task to its end", what);
            }
        }
    }
}

/// The earlier attempt that has finished a Task, as the transcript begins.
pub(super) fn done_in(stored: &Stored, attempt: u32, task: &str) -> Option<u32> {
    let transcript = &stored.attempts.iter().find(|copy| copy.attempt == attempt)?.raw;
    let first = transcript.split(|byte| *byte == b'\n').next()?;
    let Ok(Some(Record::Started(started))) = Header::read(first).ok()?.record() else { return None };
    let title = started.tasks.iter().find(|title| title.name.as_str() == task)?;
    title.done_in.map(Attempt::get)
}
