//! What the end of ansible-playbook makes of the Task.
//!
//! The exit code alone says too little: 4 means an unreachable minion as well as a playbook that does not
//! parse, and after a signal there is none. The events tell the rest.

use std::collections::BTreeMap;

use aegir_protocol::code::Code;
use aegir_protocol::record::Exit;
use aegir_protocol::state::{Outcome, Reason};

use super::super::child::Ended;
use super::super::events::{Failure, Tally};
use super::super::work;

use crate::minions::{Login, MinionError};

/// As much of what Ansible says as a reason repeats, in characters.
const LONGEST: usize = 1000;

/// How the Task went. `said` is the end of standard error.
pub(super) fn judge(
    ended: &Ended,
    tally: &Tally,
    logins: &BTreeMap<String, Login>,
    said: &str,
) -> (Outcome, Reason) {
    if ended.stop.is_some() {
        return work::judge(ended, "ansible-playbook", &String::new);
    }
    let failed = |reason| (Outcome::Failed, reason);
    match (&ended.exit, tally.failures.first()) {
        (Exit { code: Some(0), .. }, _) if !tally.greeted => failed(Code::RunnerFailed.because(
            "ansible-playbook ended well, but dispatcherd's callback plug-in said nothing of what it did: see \
             that nothing in its environment turns the plug-in off"
                .to_owned(),
        )),
        (Exit { code: Some(0), .. }, _) => work::judge(ended, "ansible-playbook", &String::new),
        (_, Some(failure)) => failed(of_step(failure, tally.failures.len() - 1, logins)),
        // It stopped before any step, with an error of its own: parser 4, options 5, other errors 1, bugs 250.
        (Exit { code: Some(1 | 4 | 5 | 250), .. }, None) if !tally.stats => {
            failed(Code::PlaybookInvalid.because(format!("Ansible can't use the playbook or role: {}", error_in(said))))
        }
        (Exit { code: Some(_), .. } | Exit { signal: Some(_), .. }, None) | (_, None) => {
            work::judge(ended, "ansible-playbook", &|| error_in(said))
        }
    }
}

fn of_step(failure: &Failure, others: usize, logins: &BTreeMap<String, Login>) -> Reason {
    let message = &failure.message;
    if failure.unreachable
        && let Some(login) = logins.get(&failure.host)
    {
        let reason = MinionError::from_ssh(login, &failure.message).reason();
        let more = if others == 0 { String::new() } else { format!("; {others} more failed") };
        return Reason { message: format!("{}{more}", reason.message), ..reason };
    }
    let no_python = message.contains("python")
        && (message.contains("not found") || message.contains("No such file"))
        && message.contains("interpreter");
    let reason = failure.reason(others);
    if no_python && reason.code == Code::TaskFailed.as_str() {
        return Code::PythonMissing.because(reason.message);
    }
    reason
}

/// What Ansible says from the last `ERROR!` on, or its last words.
fn error_in(said: &str) -> String {
    let from = said.find("ERROR!").or_else(|| said.find("[ERROR]")).unwrap_or(0);
    let text: String = said[from..].trim().chars().take(LONGEST).collect();
    if text.is_empty() { "it gave no reason".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::record::Remains;

    fn ended(code: i32) -> Ended {
        Ended {
            exit: Exit { code: Some(code), signal: None },
            stop: None,
            left_behind: false,
            remains: Remains::Gone,
            error: None,
        }
    }

    fn failing(message: &str) -> Tally {
        let failure = Failure {
            host: "web1".to_owned(),
            step: "Fetch".to_owned(),
            message: message.to_owned(),
            unreachable: false,
        };
        Tally { greeted: true, stats: true, failures: vec![failure], steps: 1 }
    }

    #[track_caller]
    fn check(code: i32, tally: &Tally, said: &str, expected: &str) {
        let (_, reason) = judge(&ended(code), tally, &BTreeMap::new(), said);
        assert_eq!(reason.code, expected, "{reason}");
    }

    #[test]
    fn exit_codes_are_read_together_with_the_events() {
        let well = Tally { greeted: true, stats: true, ..Tally::default() };
        check(0, &well, "", "completed");
        check(0, &Tally::default(), "", "runner_failed");
        check(2, &failing("no space"), "", "task_failed");
        check(2, &failing("source_not_allowed: /etc is outside"), "", "source_not_allowed");
        check(4, &Tally::default(), "ERROR! Syntax Error while loading YAML.", "playbook_invalid");
        check(250, &Tally::default(), "ERROR! Unexpected Exception", "playbook_invalid");
        check(2, &well, "", "task_failed");
    }

    #[test]
    fn a_reason_names_host_step_and_message() {
        let (_, reason) =
            judge(&ended(2), &failing("source_not_allowed: /etc is outside"), &BTreeMap::new(), "");
        assert_eq!(reason.message, "web1: Fetch: /etc is outside");
    }
}
