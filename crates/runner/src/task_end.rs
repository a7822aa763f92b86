//! How a Task ends.

use aegir_protocol::code::Code;
use aegir_protocol::record::{ChildExit, Remains};
use aegir_protocol::state::{Outcome, Reason};

use super::stop::Stop;

/// How a Task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TaskEnd {
    pub(super) outcome: Outcome,
    pub(super) reason: Reason,
    pub(super) exit: ChildExit,
    pub(super) local: Remains,
    pub(super) remote: Remains,
}

impl TaskEnd {
    /// The end of a Task of which nothing was started.
    pub(super) fn not_started(reason: Reason) -> Self {
        Self::nothing_left(Outcome::Failed, reason)
    }

    /// The same, because of a stop.
    pub(super) fn stopped_before(stop: &Stop) -> Self {
        Self::nothing_left(stop.outcome(), stop.reason())
    }

    /// What is to be said of it although it has succeeded.
    pub(super) fn note(&self) -> Option<&str> {
        let success = self.outcome == Outcome::Succeeded;
        self.reason.message.strip_prefix("done; ").filter(|_| success)
    }

    pub(super) fn nothing_left(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, exit: ChildExit::default(), local: Remains::Gone, remote: Remains::Gone }
    }
}

/// Of two answers the one that calls for more care.
pub(super) fn worse(one: Remains, other: Remains) -> Remains {
    match (one, other) {
        (Remains::Left, _) | (_, Remains::Left) => Remains::Left,
        (Remains::Unknown, _) | (_, Remains::Unknown) => Remains::Unknown,
        (Remains::Gone, Remains::Gone) => Remains::Gone,
    }
}

/// One end of several children: the first that did not succeed, with what is left of all.
pub(super) fn worst(ends: Vec<TaskEnd>) -> TaskEnd {
    let local = ends.iter().map(|end| end.local).fold(Remains::Gone, worse);
    let remote = ends.iter().map(|end| end.remote).fold(Remains::Gone, worse);
    let failed = ends.iter().filter(|end| end.outcome != Outcome::Succeeded).count();
    let of = |is: fn(&TaskEnd) -> bool| ends.iter().position(is);
    let chosen = of(|end| end.outcome != Outcome::Succeeded).or_else(|| of(|end| end.note().is_some()));
    let chosen = chosen.unwrap_or(0);
    let mut ends = ends;
    let mut end = if ends.is_empty() {
        TaskEnd::nothing_left(Outcome::Succeeded, Code::Completed.because("there was no minion to run it on"))
    } else {
        ends.swap_remove(chosen)
    };
    if failed > 1 {
        end.reason.message.push_str(&format!("; and so on {} more", failed - 1));
    }
    TaskEnd { local, remote, ..end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_ends_the_first_failure_counts_and_the_worst_remains() {
        let good = TaskEnd::nothing_left(Outcome::Succeeded, Code::Completed.because("done"));
        let bad = TaskEnd::not_started(Code::TaskFailed.because("no"));
        let left = TaskEnd { remote: Remains::Left, ..good.clone() };
        let end = worst(vec![good.clone(), bad.clone(), left, bad]);
        assert_eq!((end.outcome, end.remote), (Outcome::Failed, Remains::Left));
        assert_eq!(end.reason.message, "no; and so on 1 more");
        assert_eq!(worst(vec![good.clone()]), good);
    }
}
