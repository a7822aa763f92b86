//! Which errors a log has shown, so that its last line does not repeat one.

use aegir_protocol::record::Step;
use aegir_protocol::state::Reason;

use aegir_service::terminal::{clean, one_line};

/// As many failed steps are remembered.
const STEPS: usize = 100;

/// The steps of the Task that have failed and whose message was shown.
#[derive(Debug, Default)]
pub(super) struct ShownErrors {
    /// `HOST: STEP: `, as the reason of the Task begins with it.
    steps: Vec<String>,
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
            self.steps.push(format!("{host}{}: ", step.name));
        }
    }

    /// A reason, as it follows `failed after 3.9 s`. Of a step whose message was shown it names only the place.
    pub(super) fn reason(&self, reason: &Reason) -> String {
        let message = &reason.message;
        let shown = self.steps.iter().find_map(|step| {
            let (task, rest) = message.split_once(step)?;
            let place = step.trim_end_matches(": ");
            (task.is_empty() || task.starts_with("in \""))
                .then(|| one_line(&format!("{task}{place}{}", more(rest))))
        });
        let message = shown.unwrap_or_else(|| clean(message, false));
        let code = one_line(&reason.code);
        // `Failed after 3.9 s in "Fetch the codebase"`, `Canceled after 3.9 s by kim`.
        match message.strip_prefix("canceled") {
            Some(rest) => format!("{rest} ({code})"),
            None if message.starts_with("in \"") => format!(" {message} ({code})"),
            None => format!(": {message} ({code})"),
        }
    }
}

/// The `; 2 more failed` at the end of a reason.
fn more(rest: &str) -> String {
    let end = rest.rsplit_once("; ").map(|(_, end)| end);
    let number = |end: &&str| end.strip_suffix(" more failed").is_some_and(|n| n.parse::<u32>().is_ok());
    end.filter(number).map_or_else(String::new, |end| format!("; {end}"))
}
