//! What all Tasks of an attempt share: directory, secrets, recorder, stops, minions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::plan::{PlannedTask, TaskPlan};
use aegir_attempt::private::PrivateDirectory;
use aegir_minions::{Login, Minion, MinionError};
use aegir_protocol::code::Code;
use aegir_protocol::name::HostName;
use aegir_protocol::operation::{Host, Operation};
use aegir_protocol::record::{ChildExit, Remains};
use aegir_protocol::state::{Outcome, Reason};
use futures_util::future::join_all;

use super::child::Ended;
use super::recorder::Recorder;
use super::stop::Stops;
use super::task_end::{TaskEnd, worse};
use crate::secrets::Secrets;

/// What an attempt works with.
#[derive(Debug)]
pub(super) struct AttemptContext<'a> {
    pub(super) operation: &'a Operation,
    pub(super) plan: &'a TaskPlan,
    pub(super) directory: &'a AttemptDirectory,
    pub(super) private: &'a PrivateDirectory,
    pub(super) secrets: &'a Secrets,
    pub(super) recorder: RefCell<Recorder>,
    pub(super) stops: Stops,
    /// The minions that have answered in this attempt, and whether Python was seen there.
    pub(super) answered: RefCell<BTreeMap<HostName, (Minion, bool)>>,
}

impl AttemptContext<'_> {
    /// What marks this attempt's processes: `<id>/<n>`.
    pub(super) fn marker(&self) -> String {
        self.operation.attempt_id().to_string()
    }

    /// What can end this Task, from now.
    pub(super) fn stops_of(&self, task: &PlannedTask) -> Stops {
        self.stops.for_task(task.timeout_seconds, task.quiet_seconds)
    }

    /// The hosts of a Task.
    pub(super) fn hosts<'b>(&'b self, task: &'b PlannedTask) -> impl Iterator<Item = &'b Host> {
        task.hosts.iter().filter_map(|name| self.operation.hosts.iter().find(|host| host.name == *name))
    }

    /// The Task's minions, each of which answers.
    pub(super) async fn minions(
        &self,
        task: &PlannedTask,
        python: bool,
    ) -> Result<BTreeMap<HostName, Minion>, TaskEnd> {
        let mut stops = self.stops_of(task);
        let opened = join_all(self.hosts(task).map(|host| self.minion(host, python)));
        let opened = stops.unless(opened).await.map_err(|stop| TaskEnd::stopped_before(&stop))?;
        let (minions, errors) = sorted(opened);
        match first_of(errors) {
            None => Ok(minions),
            Some(reason) => Err(TaskEnd::not_started(reason)),
        }
    }

    /// The Task's minions, and why some can't be reached: what that means for the Task, Ansible decides. Every other
    /// problem with a minion ends the Task here.
    pub(super) async fn minions_or_down(
        &self,
        task: &PlannedTask,
    ) -> Result<(BTreeMap<HostName, Minion>, BTreeMap<HostName, Reason>), TaskEnd> {
        let mut stops = self.stops_of(task);
        let opened = join_all(self.hosts(task).map(|host| self.minion(host, true)));
        let opened = stops.unless(opened).await.map_err(|stop| TaskEnd::stopped_before(&stop))?;
        let (mut minions, errors) = sorted(opened);
        let (down, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            errors.into_iter().partition(|(_, reason)| is_down(reason));
        if let Some(reason) = first_of(others) {
            return Err(TaskEnd::not_started(reason));
        }
        for host in self.hosts(task).filter(|host| down.contains_key(&host.name)) {
            let login = Login::of(host, &self.plan.settings);
            let minion = Minion::prepare(login, &self.plan.settings.runtime_directory)
                .map_err(|error| TaskEnd::not_started(error.reason()))?;
            minions.insert(host.name.clone(), minion);
        }
        Ok((minions, down))
    }

    async fn minion(&self, host: &Host, python: bool) -> (HostName, Result<Minion, Reason>) {
        (host.name.clone(), self.open_minion(host, python).await)
    }

    async fn open_minion(&self, host: &Host, python: bool) -> Result<Minion, Reason> {
        let known = self.answered.borrow().get(&host.name).cloned();
        if let Some((minion, python_seen)) = &known
            && (*python_seen || !python)
            && minion.stands()
        {
            return Ok(minion.clone());
        }
        let settings = &self.plan.settings;
        let wanted = python.then_some(settings.minion_python.as_path());
        let login = Login::of(host, settings);
        let minion = Minion::open(login, &settings.runtime_directory, wanted)
            .await
            .map_err(|error: MinionError| error.reason())?;
        if known.is_none() {
            self.end_earlier_attempts(&minion).await?;
        }
        self.answered.borrow_mut().insert(host.name.clone(), (minion.clone(), python));
        Ok(minion)
    }

    /// A later attempt's first act on a minion: to see that nothing of an earlier one runs there.
    async fn end_earlier_attempts(&self, minion: &Minion) -> Result<(), Reason> {
        let (id, attempt) = (self.operation.id, self.operation.attempt.get());
        // Those before the last sixteen ended long ago, and a command line has an end.
        let earlier = attempt.saturating_sub(16).max(1)..attempt;
        // What a finished Task was to leave lives on.
        let leaves = |task: &&PlannedTask| task.leaves_processes && task.done.is_none();
        let numbers: Vec<_> = self.plan.tasks.iter().filter(leaves).map(|task| task.number).collect();
        let of = |earlier: u32| {
            let tasks = numbers.iter().map(move |number| format!("{id}/{earlier}:{number}"));
            tasks.chain([format!("{id}/{earlier}")]).collect::<Vec<_>>()
        };
        let markers: Vec<String> = earlier.flat_map(of).collect();
        if markers.is_empty() {
            return Ok(());
        }
        let shown = minion.login().shown();
        let marker = format!("{}={id}/…", aegir_minions::MARKER);
        let unknown = |error: &MinionError| {
            format!(
                "whether processes of an earlier attempt still run on minion {shown} is not known, so nothing was started \
                 beside them: {error}"
            )
        };
        let reason = match minion.try_end(&markers).await {
            Ok(Remains::Gone) => return Ok(()),
            Ok(Remains::Left | Remains::Unknown) => Code::TaskFailed.because(format!(
                "processes of an earlier attempt still run on minion {shown} and can't be ended: end those with {marker} in \
                 their environment, then try again",
            )),
            // It answers, so it is not down.
            Err(error @ MinionError::CannotLook(_)) => Code::AttentionNeeded.because(unknown(&error)),
            Err(error) => Code::TaskFailed.because(unknown(&error)),
        };
        Err(reason)
    }

    /// Ends what the attempt may have left on these minions.
    pub(super) async fn end_on(&self, minions: &BTreeMap<HostName, Minion>) -> Remains {
        let marker = [self.marker()];
        let remains = join_all(minions.values().map(|minion| minion.end(&marker))).await;
        remains.into_iter().fold(Remains::Gone, worse)
    }

    /// The directory of the Task, fresh.
    pub(super) fn task_directory(&self, task: &PlannedTask) -> std::io::Result<std::path::PathBuf> {
        let path = self.directory.task(task.number, task.name.as_str());
        remove(&path)?;
        aegir_attempt::private::private_directory(&path)?;
        Ok(path)
    }
}

/// Minions by name, and what is wrong with the others.
type Opened = (BTreeMap<HostName, Minion>, BTreeMap<HostName, Reason>);

fn sorted(opened: Vec<(HostName, Result<Minion, Reason>)>) -> Opened {
    let (mut minions, mut errors) = Opened::default();
    for (name, answer) in opened {
        match answer {
            Ok(minion) => drop(minions.insert(name, minion)),
            Err(reason) => drop(errors.insert(name, reason)),
        }
    }
    (minions, errors)
}

/// One reason for several minions.
fn first_of(errors: BTreeMap<HostName, Reason>) -> Option<Reason> {
    let others = errors.len().saturating_sub(1);
    let mut first = errors.into_values().next()?;
    if others > 0 {
        first.message.push_str(&format!("; {others} more of its minions can't be used"));
    }
    Some(first)
}

/// Whether it says that no connection comes up: what Ansible calls unreachable.
fn is_down(reason: &Reason) -> bool {
    let codes = [Code::MinionUnreachable, Code::LoginRefused, Code::HostKeyChanged, Code::HostKeyUnknown];
    codes.iter().any(|code| code.as_str() == reason.code)
}

/// Removes a directory that may not be there.
pub(super) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What was seen after a child's end, and no more than that.
fn left(ended: &Ended) -> &'static str {
    match ended.remains {
        Remains::Unknown => "; whether something of it still runs is not known",
        Remains::Left => "; something of it still runs and can't be ended",
        Remains::Gone if ended.left_behind => "; a process that it left behind was ended",
        Remains::Gone => "",
    }
}

/// What a child's end makes of its Task. `said` gives the last of its errors.
pub(super) fn outcome_of(ended: &Ended, subject: &str, said: &dyn Fn() -> String) -> (Outcome, Reason) {
    let left_behind = left(ended);
    if let Some(stop) = &ended.stop {
        let reason = stop.reason();
        return (stop.outcome(), Reason { message: format!("{}{left_behind}", reason.message), ..reason });
    }
    let because = match (&ended.error, &ended.exit) {
        (Some(error), _) => format!("{subject} ended in an unknown way: {error}"),
        (None, ChildExit { code: Some(0), .. }) => {
            return (Outcome::Succeeded, Code::Completed.because(format!("done{left_behind}")));
        }
        (None, ChildExit { code: Some(code), .. }) => format!("{subject} ended with exit code {code}"),
        (None, ChildExit { signal: Some(signal), .. }) => format!("{subject} was ended by signal {signal}"),
        (None, ChildExit { code: None, signal: None }) => format!("{subject} ended in an unknown way"),
    };
    let said = said();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    (Outcome::Failed, Code::TaskFailed.because(format!("{because}{left_behind}{said}")))
}

#[cfg(test)]
mod tests {
    use super::super::stop::Stop;
    use super::*;

    fn ended(exit: ChildExit) -> Ended {
        Ended { exit, stop: None, left_behind: false, remains: Remains::Gone, error: None }
    }

    #[test]
    fn the_end_of_a_child_is_judged() {
        let code = |code| ended(ChildExit { code: Some(code), signal: None });
        let said = || "disk on fire".to_owned();
        assert_eq!(outcome_of(&code(0), "x", &said).0, Outcome::Succeeded);
        let (outcome, reason) = outcome_of(&code(3), "the program", &said);
        assert_eq!(outcome, Outcome::Failed);
        assert_eq!(reason.to_string(), "the program ended with exit code 3: disk on fire (task_failed)");
        let canceled = Ended { stop: Some(Stop::Canceled { by: None }), ..code(0) };
        assert_eq!(outcome_of(&canceled, "x", &said).0, Outcome::Canceled);
    }

    #[test]
    fn only_what_was_seen_is_said_of_what_a_child_left() {
        let code = ChildExit { code: Some(0), signal: None };
        for (remains, says) in [
            (Remains::Gone, "done; a process that it left behind was ended"),
            (Remains::Left, "done; something of it still runs and can't be ended"),
            (Remains::Unknown, "done; whether something of it still runs is not known"),
        ] {
            let ended = Ended { left_behind: true, remains, ..ended(code.clone()) };
            assert_eq!(outcome_of(&ended, "x", &String::new).1.message, says);
        }
    }
}
