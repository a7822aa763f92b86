//! What was said already, so that no error is told twice.

use aegir_protocol::record::Step;
use aegir_protocol::state::Reason;

use aegir_service::terminal::{clean, one_line};

/// As many failed steps are remembered.
const STEPS: usize = 100;

/// What was said of what went wrong.
#[derive(Debug, Default)]
pub(super) struct ShownErrors {
    /// `HOST: STEP` of the Task's steps that have failed and said why.
    steps: Vec<String>,
    reason: Option<Reason>,
}

impl ShownErrors {
    /// Another Task begins.
    pub(super) fn task(&mut self) {
        self.steps.clear();
    }

    /// A step has failed, and its message was shown.
    pub(super) fn step(&mut self, step: &Step) {
        if self.steps.len() < STEPS {
            let host = if step.host.is_empty() { String::new() } else { format!("{}: ", step.host) };
            self.steps.push(format!("{host}{}", step.name));
        }
    }

    /// What is left to say of a reason, as it goes on after `failed`: all of it; where it was, if a step has said why;
    /// or little more than its code, if it was said before.
    pub(super) fn reason(&mut self, reason: &Reason) -> String {
        let code = one_line(&reason.code);
        let message = &reason.message;
        // An Operation's reason is that of its Task, after the Task's name.
        let before = self.reason.as_ref().filter(|told| told.code == reason.code && !told.message.is_empty());
        if let Some(place) = before.and_then(|told| message.strip_suffix(told.message.as_str())) {
            let place = place.trim_end_matches(": ");
            return if place.is_empty() {
                format!(" ({code})")
            } else {
                format!(". {} ({code})", one_line(place))
            };
        }
        self.reason = Some(reason.clone());
        let said = |step: &String| {
            let rest = message.strip_prefix(step.as_str())?.strip_prefix(": ")?;
            Some((step.clone(), more(rest)))
        };
        match self.steps.iter().find_map(said) {
            Some((step, more)) => format!(". {}{more} ({code})", one_line(&step)),
            None => format!(". {}", clean(&reason.to_string(), false)),
        }
    }
}

/// The `; 2 more failed` at the end of a reason.
fn more(rest: &str) -> String {
    let end = rest.rsplit_once("; ").map(|(_, end)| end);
    let number = |end: &&str| end.strip_suffix(" more failed").is_some_and(|n| n.parse::<u32>().is_ok());
    end.filter(number).map_or_else(String::new, |end| format!("; {end}"))
}
