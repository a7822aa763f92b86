//! What the steps of one Task come to: the failures that count for its end, and the connections that were lost.

use std::collections::{BTreeMap, BTreeSet};

use aegir_protocol::code::Code;
use aegir_protocol::record::StepStatus;
use aegir_protocol::state::Reason;
use serde::Deserialize;

/// The longest message of a step that a reason repeats, in characters.
const LONGEST_REASON: usize = 1000;
/// The longest that is kept of it, in characters.
const LONGEST_KEPT: usize = 4 * LONGEST_REASON;
/// How many failures are kept for the reason, and counted in it.
const FAILURES: usize = 1000;

/// What was between the two ends of a connection when that broke.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct CutOff {
    /// The host at the other end, which may be one that a step was delegated to.
    pub(super) host: String,
    /// When the step began, as what it started has it in its environment: microseconds of this machine's clock.
    pub(super) since: u64,
    /// When the connection was found broken.
    pub(super) until: u64,
}

/// A step that did not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepFailure {
    pub(super) host: String,
    pub(super) step: String,
    pub(super) message: String,
    /// Which host could not be reached.
    pub(super) unreachable: Option<String>,
}

impl StepFailure {
    /// The reason of a Task that failed with this. A role or plug-in can say which of the codes it means:
    /// `source_not_allowed: …`.
    pub(super) fn reason(&self, others: usize) -> Reason {
        let message: String = self.message.chars().take(LONGEST_REASON).collect();
        let more = if others == 0 { String::new() } else { format!("; {others} more failed") };
        let own = message.split_once(": ").and_then(|(word, rest)| Some((Code::from_word(word)?, rest)));
        let (code, message) = own.unwrap_or((Code::TaskFailed, &message));
        let at = if self.host.is_empty() { String::new() } else { format!("{}: ", self.host) };
        code.because(format!("{at}{}: {message}{more}", self.step))
    }
}

/// What was learned from the events of one Task.
#[derive(Clone, Debug, Default)]
pub(super) struct StepStats {
    /// The plug-in was there.
    pub(super) greeted: bool,
    /// Ansible has come to its own end.
    pub(super) stats: bool,
    /// The failures that nothing has taken care of, in order; of each host the one that has ended the play for it is
    /// the first.
    pub(super) failures: Vec<StepFailure>,
    /// The last that a rescue section has taken care of, by host.
    pub(super) rescued: BTreeMap<String, StepFailure>,
    /// Each connection that broke, whether or not the play went on after that.
    pub(super) cut_off: Vec<CutOff>,
    /// The hosts of which there was any other result.
    pub(super) reached: BTreeSet<String>,
    /// The `hosts` of all plays, if no host matched any of them.
    pub(super) unmatched: Option<Vec<String>>,
    /// What was said and not understood, the last time.
    pub(super) lost: Option<String>,
    pub(super) steps: u64,
}

impl StepStats {
    /// Counts what went wrong with a step. A host that has failed gets steps of `always` sections and handlers only, so
    /// any other step says that it has not failed for good: something has rescued it, or cleared its errors.
    pub(super) fn count(
        &mut self,
        mut failure: StepFailure,
        status: StepStatus,
        rescued: bool,
        regardless: bool,
    ) {
        if !regardless {
            self.failures.retain(|earlier| earlier.host != failure.host);
        }
        match status {
            StepStatus::Unreachable | StepStatus::Failed => {}
            StepStatus::Ignored if rescued => {}
            StepStatus::Ok | StepStatus::Changed | StepStatus::Ignored | StepStatus::Skipped => return,
        }
        failure.message = failure.message.chars().take(LONGEST_KEPT).collect();
        if rescued {
            self.rescued.insert(failure.host.clone(), failure);
        } else if self.failures.len() < FAILURES {
            self.failures.push(failure);
        }
    }

    /// Compares what was found with what Ansible has counted in the end, which is what its exit code says.
    pub(super) fn compare(&mut self, hosts: &BTreeMap<String, BTreeMap<String, u64>>) {
        for (host, counts) in hosts {
            let counted = |what: &str| counts.get(what).is_some_and(|count| *count > 0);
            let found = self.failures.iter().any(|failure| failure.host == *host);
            if !counted("failures") && !counted("unreachable") {
                self.failures.retain(|failure| failure.host != *host);
            } else if !found && let Some(failure) = self.rescued.remove(host) {
                self.failures.push(failure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of steps `HOST STATUS`, of which `>` says that it runs for hosts that have failed too, and of what
    /// Ansible has counted as failures in the end.
    #[track_caller]
    fn check(steps: &[&str], counted: &[(&str, u64)], expected: &[&str]) {
        let mut step_stats = StepStats::default();
        for (number, step) in steps.iter().enumerate() {
            let (step, regardless) = step.strip_prefix('>').map_or((*step, false), |step| (step, true));
            let (host, word) = step.split_once(' ').unwrap();
            let (status, rescued) = match word {
                "ok" => (StepStatus::Ok, false),
                "ignored" => (StepStatus::Ignored, false),
                "rescued" => (StepStatus::Ignored, true),
                "failed" => (StepStatus::Failed, false),
                other => panic!("{other}"),
            };
            let failure = StepFailure {
                host: host.to_owned(),
                step: number.to_string(),
                message: String::new(),
                unreachable: None,
            };
            step_stats.count(failure, status, rescued, regardless);
        }
        let counts = |count| [("failures".to_owned(), count)].into();
        step_stats.compare(&counted.iter().map(|&(host, count)| (host.to_owned(), counts(count))).collect());
        let left: Vec<_> = step_stats.failures.iter().map(|failure| failure.step.as_str()).collect();
        assert_eq!(left, expected, "{steps:?}");
    }

    #[test]
    fn what_has_not_ended_the_play_for_its_host_is_no_failure() {
        check(&["a rescued", "a ok", "a failed"], &[("a", 1)], &["2"]);
        check(&["a ignored", "a failed", ">a ok", ">a failed"], &[("a", 2)], &["1", "3"]);
        check(&["a failed", "b ok", "b failed"], &[("a", 1), ("b", 1)], &["0", "2"]);
        // Something has cleared its errors.
        check(&["a failed", "b failed", "a ok"], &[("a", 1), ("b", 1)], &["1"]);
        // Ansible has counted otherwise.
        check(&[">a failed", "b failed"], &[("a", 0), ("b", 1)], &["1"]);
        check(&["a rescued"], &[("a", 1)], &["0"]);
    }
}
