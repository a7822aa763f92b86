//! Making a record fit its limit, where that loses nothing that must be kept.
//!
//! A step's diff can be as long as the file that it is about, and a message as long as what a module prints.
//! Both tell a person what happened; neither is what a child printed, which is never cut. What was cut says
//! so, and how long it was.

use std::borrow::Cow;

use aegir_protocol::record::{Plan, Progress, Record, Step};
use aegir_protocol::state::Reason;
use serde_json::Value;

/// A message keeps this many bytes. JSON makes at most six of each, and the others need room too.
const LONGEST_MESSAGE: usize = 16 * 1024;
/// A name keeps this many bytes.
const LONGEST_NAME: usize = 1024;
/// A diff, or what a plan changes, of at most this many bytes of JSON is kept.
const LONGEST_DIFF: usize = 64 * 1024;

/// The record with its long texts shortened; `None` for the kinds in which nothing may be cut.
pub(crate) fn shortened(record: &Record) -> Option<Record> {
    match record {
        Record::Step(step) => Some(Record::Step(shorter_step(step))),
        Record::Progress(progress) => {
            let message = progress.message.as_deref().map(|text| cut(text, LONGEST_MESSAGE));
            Some(Record::Progress(Progress { message, ..progress.clone() }))
        }
        Record::TaskFinished(finished) => {
            let mut finished = finished.clone();
            finished.reason = shorter_reason(finished.reason);
            Some(Record::TaskFinished(finished))
        }
        Record::Finished(finished) => {
            let mut finished = finished.clone();
            finished.reason = shorter_reason(finished.reason);
            Some(Record::Finished(finished))
        }
        Record::Plan(plan) => Some(Record::Plan(Plan { changes: shorter(&plan.changes), ..plan.clone() })),
        // A document without a part of it is another document, output is kept byte for byte, and the other
        // two are short unless something is very wrong.
        Record::Document(_) | Record::Output(_) | Record::Started(_) | Record::TaskStarted(_) => None,
    }
}

fn shorter_step(step: &Step) -> Step {
    Step {
        task: step.task,
        name: cut(&step.name, LONGEST_NAME),
        action: cut(&step.action, LONGEST_NAME),
        host: cut(&step.host, LONGEST_NAME),
        status: step.status,
        item: step.item.as_deref().map(|text| cut(text, LONGEST_NAME)),
        duration_ms: step.duration_ms,
        message: step.message.as_deref().map(|text| cut(text, LONGEST_MESSAGE)),
        diff: step.diff.as_ref().map(shorter),
    }
}

/// A diff, or the changes of a plan.
fn shorter(changes: &Value) -> Value {
    let bytes = serde_json::to_string(changes).map_or(0, |json| json.len());
    if bytes <= LONGEST_DIFF {
        return changes.clone();
    }
    Value::String(format!("[left out: this is {bytes} bytes long, more than a record holds]"))
}

fn shorter_reason(reason: Reason) -> Reason {
    Reason { code: cut(&reason.code, LONGEST_NAME), message: cut(&reason.message, LONGEST_MESSAGE) }
}

/// The text if it has at most `longest` bytes, otherwise its beginning and how long it was.
fn cut(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let kept: Cow<'_, str> = text[..text.floor_char_boundary(longest)].into();
    format!("{kept} [cut here: the whole is {} bytes long]", text.len())
}

#[cfg(test)]
mod tests {
    use aegir_protocol::limits::MAX_RECORD;
    use aegir_protocol::record::StepStatus;
    use jiff::Timestamp;

    use super::*;

    fn step(text: &str) -> Step {
        Step {
            task: 1,
            name: text.to_owned(),
            action: text.to_owned(),
            host: text.to_owned(),
            status: StepStatus::Failed,
            item: Some(text.to_owned()),
            duration_ms: 5,
            message: Some(text.to_owned()),
            diff: Some(serde_json::json!([{ "before": text, "after": "" }])),
        }
    }

    #[test]
    fn the_worst_step_fits_and_says_what_is_missing() {
        let long = "\u{1}é".repeat(200_000);
        let record = shortened(&Record::Step(step(&long))).unwrap();
        assert!(record.to_line(u64::MAX, Timestamp::now()).len() <= MAX_RECORD);
        let Record::Step(step) = record else { panic!() };
        assert!(step.message.unwrap().ends_with("[cut here: the whole is 600000 bytes long]"));
        assert!(step.diff.unwrap().as_str().unwrap().contains("bytes long"));
    }

    #[test]
    fn what_fits_stays() {
        let record = Record::Step(step("short"));
        assert_eq!(shortened(&record), Some(record));
    }
}
