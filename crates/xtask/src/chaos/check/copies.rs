//! One transcript, two copies, equal bytes; and what children printed stands in it.

use aegir_api::AttemptDetail;
use aegir_protocol::record::Stream;
use aegir_protocol::state::Outcome;
use aegir_transcript::Verifier;
use serde_json::Value;

use super::super::evidence::{OrderEvidence, Stored, Try, What};
use super::super::order::LoadKind;
use super::super::printed;
use super::findings::{Findings, marks_of};

pub(super) fn check(seen: &OrderEvidence, stored: &Stored, attempt: &Try, findings: &mut Findings<'_>) {
    let Some(detail) = stored.detail.attempts.iter().find(|detail| detail.attempt.get() == attempt.attempt)
    else {
        return;
    };
    let number = attempt.attempt;
    let written: Vec<(&String, &Vec<u8>)> =
        attempt.copies.iter().filter(|(_, bytes)| !bytes.is_empty()).collect();
    if written.len() > 1 {
        let nodes: Vec<&String> = written.iter().map(|(node, _)| *node).collect();
        let what = format!("attempt {number} was run by {nodes:?}");
        findings.add(seen, Some(stored), "one node runs an attempt", what);
        return;
    }
    let theirs: &[u8] = written.first().map_or(&[], |(_, bytes)| bytes);
    complete_where_it_must_be(seen, stored, detail, theirs, findings);
    compare(seen, stored, detail, attempt, theirs, findings);
    output(seen, stored, detail, attempt, findings);
}

/// Only a killed runner leaves a transcript without an end.
fn complete_where_it_must_be(
    seen: &OrderEvidence,
    stored: &Stored,
    detail: &AttemptDetail,
    theirs: &[u8],
    findings: &mut Findings<'_>,
) {
    let number = detail.attempt.get();
    let killed = findings.evidence.runners_killed.contains(&(stored.detail.summary.id.to_string(), number));
    if detail.transcript_complete || killed || (theirs.is_empty() && detail.transcript_bytes == 0) {
        return;
    }
    let what = format!(
        "attempt {number} is {:?}: {} of the {} bytes that its runner wrote, and no end",
        detail.outcome,
        detail.transcript_bytes,
        theirs.len()
    );
    findings.add(seen, Some(stored), "a transcript whose runner was not killed arrives whole", what);
}

fn compare(
    seen: &OrderEvidence,
    stored: &Stored,
    detail: &AttemptDetail,
    attempt: &Try,
    theirs: &[u8],
    findings: &mut Findings<'_>,
) {
    const PROMISED: &str = "both copies of a transcript are the same bytes, with the digest that it names";
    let number = attempt.attempt;
    if attempt.raw.len() as u64 != detail.transcript_bytes {
        let what = format!(
            "attempt {number}: {} bytes are announced, {} are given out",
            detail.transcript_bytes,
            attempt.raw.len()
        );
        findings.add(seen, Some(stored), PROMISED, what);
    }
    let same = match detail.transcript_complete {
        true => attempt.raw == theirs,
        false => theirs.starts_with(&attempt.raw),
    };
    if !same {
        let at = attempt.raw.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
        let what = format!(
            "attempt {number}: {} bytes in relayd, {} at the node, different from byte {at}",
            attempt.raw.len(),
            theirs.len()
        );
        findings.add(seen, Some(stored), PROMISED, what);
    }
    if detail.transcript_complete {
        let mut verifier = Verifier::new();
        let verdict = verifier.push(&attempt.raw, |_, _| {});
        if verdict.is_err() || verifier.finished().is_none() {
            let what = format!("attempt {number}: {verdict:?}, finished: {:?}", verifier.finished());
            findings.add(seen, Some(stored), PROMISED, what);
        }
    }
}

/// What the API gives out is what the children printed: all of it where they came to their end, at least what
/// they know to be on the pipe where the transcript is whole, and nothing else ever.
fn output(
    seen: &OrderEvidence,
    stored: &Stored,
    detail: &AttemptDetail,
    attempt: &Try,
    findings: &mut Findings<'_>,
) {
    const PROMISED: &str = "what a child printed is rebuilt byte for byte";
    let number = attempt.attempt;
    if seen.order.work == LoadKind::Play {
        return items(seen, stored, detail, attempt, findings);
    }
    for (index, task) in (1..).zip(seen.order.work.tasks()) {
        let marks = || marks_of(seen, number).filter(|mark| mark.task == *task);
        let ended = marks().any(|mark| mark.what == What::End);
        let on_the_pipe = marks().map(|mark| mark.printed).max().unwrap_or(0);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let printed = match stream {
                Stream::Stdout => printed::stdout(&seen.order, number),
                Stream::Stderr => printed::stderr(&seen.order, number),
            };
            let nothing = Vec::new();
            let given = attempt.outputs.get(&(index, stream)).unwrap_or(&nothing);
            // Ssh gives up what is under way when a Task on a minion is stopped.
            let at_least = match (ended, stream) {
                (true, _) => printed.len(),
                (false, Stream::Stdout) if *task != "minion" => on_the_pipe,
                (false, _) => 0,
            };
            let cut = !detail.transcript_complete;
            // Whoever has not begun to act prints what Python or ssh has to say, if it is stopped right then.
            let begun = marks().next().is_some();
            let errors = stream == Stream::Stderr;
            // A login shell on the minion may have something to say first.
            let behind_the_shell = errors && *task == "minion" && given.ends_with(&printed);
            let prefix = printed.starts_with(given) || (errors && !ended) || behind_the_shell;
            if begun && (!prefix || (!cut && given.len() < at_least)) {
                let at = given.iter().zip(&printed).take_while(|(given, printed)| given == printed).count();
                let what = format!(
                    "attempt {number}, {task}, {}: {} bytes of {}, at least {at_least} are on the pipe, \
                     different from byte {at}",
                    stream.as_str(),
                    given.len(),
                    printed.len()
                );
                findings.add(seen, Some(stored), PROMISED, what);
            }
        }
    }
}

/// Of Ansible, each item of the loop has its step, once and in order.
fn items(
    seen: &OrderEvidence,
    stored: &Stored,
    detail: &AttemptDetail,
    attempt: &Try,
    findings: &mut Findings<'_>,
) {
    let steps: Vec<String> = attempt
        .raw
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|record| record["kind"] == "step")
        .filter_map(|record| record["body"]["item"].as_str().map(str::to_owned))
        .collect();
    let all = ["1", "2", "3"];
    let in_order = steps.len() <= all.len() && steps.iter().zip(all).all(|(step, item)| step == item);
    let ended = marks_of(seen, attempt.attempt).filter(|mark| mark.what == What::End).count();
    // Ansible's workers go on for a moment when Ansible itself is ended from outside, and nobody hears of it.
    let key = (stored.detail.summary.id.to_string(), attempt.attempt);
    let by_itself = matches!(detail.outcome, Some(Outcome::Succeeded | Outcome::Failed))
        && !findings.evidence.children_killed.contains(&key);
    let whole = !by_itself || steps.len() >= ended;
    if !in_order || !whole {
        let what = format!("attempt {}: {ended} items ended, steps {steps:?}", attempt.attempt);
        findings.add(seen, Some(stored), "each step of a play is recorded once, in order", what);
    }
}
