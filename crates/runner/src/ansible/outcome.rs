//! What the end of ansible-playbook makes of the Task.
//!
//! The exit code alone says too little: 4 means an unreachable minion as well as a playbook that does not
//! parse, and after a signal there is none. The events tell the rest.

use std::collections::BTreeMap;

use aegir_protocol::code::Code;
use aegir_protocol::record::ChildExit;
use aegir_protocol::state::{Outcome, Reason};

use super::super::child::Ended;
use super::super::step_stats::{StepFailure, StepStats};
use super::super::work;

use aegir_minions::{Login, MinionError};

/// As much of what Ansible says as a reason repeats, in characters.
const LONGEST: usize = 1000;

/// What is known beside the events.
#[derive(Debug, Default)]
pub(super) struct PlayResult {
    /// How each minion is reached.
    pub(super) logins: BTreeMap<String, Login>,
    /// Why some could not be reached before the Task.
    pub(super) down: BTreeMap<String, Reason>,
    /// The end of standard error.
    pub(super) said: String,
    /// Whether a playbook may be for none of the hosts.
    pub(super) may_match_no_host: bool,
}

impl PlayResult {
    /// How the Task went.
    pub(super) fn outcome_of(&self, ended: &Ended, step_stats: &StepStats) -> (Outcome, Reason) {
        if ended.stop.is_some() {
            return work::outcome_of(ended, "ansible-playbook", &String::new);
        }
        let failed = |reason| (Outcome::Failed, reason);
        let said = &error_in(&self.said, step_stats.lost.as_deref());
        match (&ended.exit, step_stats.failures.first()) {
        (ChildExit { code: Some(0), .. }, _) if !step_stats.greeted => failed(Code::RunnerFailed.because(
            "ansible-playbook ended well, but dispatcherd's callback plug-in said nothing of what it did: see \
             that nothing in its environment turns the plug-in off"
                .to_owned(),
        )),
        (ChildExit { code: Some(0), .. }, _) => match &step_stats.unmatched {
            Some(patterns) if !self.may_match_no_host => failed(self.no_host(patterns)),
            Some(_) | None => work::outcome_of(ended, "ansible-playbook", &String::new),
        },
        (_, Some(failure)) => failed(self.of_step(failure, step_stats.failures.len() - 1)),
        // It stopped before any step, with an error of its own: parser 4, options 5, other errors 1, bugs 250.
        (ChildExit { code: Some(1 | 4 | 5 | 250), .. }, None) if !step_stats.stats => {
            failed(Code::PlaybookInvalid.because(format!("Ansible can't use the playbook or role: {said}")))
        }
        (ChildExit { code: Some(_), .. } | ChildExit { signal: Some(_), .. }, None) | (_, None) => {
            work::outcome_of(ended, "ansible-playbook", &|| said.clone())
        }
    }
    }

    fn no_host(&self, patterns: &[String]) -> Reason {
        let hosts: Vec<_> = self.logins.keys().map(String::as_str).collect();
        let message = format!(
            "no play is for any of the Task's hosts ({}), so nothing was done: the plays have `hosts: {}`, and find the \
             Task's hosts by their names and in the group `task`; if that is as it should be, give the task \
             `ansible: {{may_match_no_host: true}}` in the role's manifest",
            hosts.join(", "),
            patterns.join("`, `hosts: "),
        );
        Code::NoHostMatched.because(message)
    }

    fn of_step(&self, failure: &StepFailure, others: usize) -> Reason {
        let message = &failure.message;
        if let Some(host) = &failure.unreachable
            && let Some(login) = self.logins.get(host)
        {
            let of_ssh = || MinionError::from_ssh(login, &failure.message).reason();
            let reason = self.down.get(host).cloned().unwrap_or_else(of_ssh);
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
}

/// What Ansible says from the last `ERROR!` on, or its last words. What it said to the runner in vain may have been more.
fn error_in(said: &str, lost: Option<&str>) -> String {
    let from = said.find("ERROR!").or_else(|| said.find("[ERROR]")).unwrap_or(0);
    let text: String = said[from..].trim().chars().take(LONGEST).collect();
    match (text.is_empty(), lost) {
        (false, _) => text,
        (true, Some(problem)) => format!("its reason is not known: the runner can't read {problem}"),
        (true, None) => "it gave no reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::record::Remains;

    fn ended(code: i32) -> Ended {
        Ended {
            exit: ChildExit { code: Some(code), signal: None },
            stop: None,
            left_behind: false,
            remains: Remains::Gone,
            error: None,
        }
    }

    fn failing(message: &str) -> StepStats {
        let failure = StepFailure {
            host: "web1".to_owned(),
            step: "Fetch".to_owned(),
            message: message.to_owned(),
            unreachable: None,
        };
        StepStats { greeted: true, stats: true, failures: vec![failure], steps: 1, ..StepStats::default() }
    }

    #[track_caller]
    fn check(code: i32, step_stats: &StepStats, said: &str, expected: &str) {
        let (_, reason) = PlayResult { said: said.to_owned(), ..PlayResult::default() }
            .outcome_of(&ended(code), step_stats);
        assert_eq!(reason.code, expected, "{reason}");
    }

    #[test]
    fn exit_codes_are_read_together_with_the_events() {
        let well = StepStats { greeted: true, stats: true, ..StepStats::default() };
        check(0, &well, "", "completed");
        check(0, &StepStats::default(), "", "runner_failed");
        check(2, &failing("no space"), "", "task_failed");
        check(2, &failing("source_not_allowed: /etc is outside"), "", "source_not_allowed");
        check(4, &StepStats::default(), "ERROR! Syntax Error while loading YAML.", "playbook_invalid");
        check(250, &StepStats::default(), "ERROR! Unexpected Exception", "playbook_invalid");
        check(2, &well, "", "task_failed");
    }

    #[test]
    fn nothing_done_is_no_success_unless_it_may_be() {
        let unmatched = Some(vec!["web".to_owned()]);
        let none = StepStats { greeted: true, stats: true, unmatched, ..StepStats::default() };
        check(0, &none, "", "no_host_matched");
        let outcome_of = PlayResult { may_match_no_host: true, ..PlayResult::default() };
        assert_eq!(outcome_of.outcome_of(&ended(0), &none).1.code, "completed");
    }

    #[test]
    fn a_reason_names_host_step_and_message() {
        let (_, reason) =
            PlayResult::default().outcome_of(&ended(2), &failing("source_not_allowed: /etc is outside"));
        assert_eq!(reason.message, "web1: Fetch: /etc is outside");
    }
}
