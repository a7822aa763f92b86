//! Ending what a dead runner has left, here and on its minions.

use std::fmt;
use std::io::{self, BufRead as _};
use std::path::Path;
use std::time::Duration;

use aegir_attempt::AttemptDirectory;
use aegir_attempt::group::{self, Recorded};
use aegir_attempt::plan::{PlannedTask, TaskAction, TaskPlan};
use aegir_attempt::private::PrivateDirectory;
use aegir_minions::{Login, Minion, MinionError};
use aegir_protocol::id::AttemptId;
use aegir_protocol::message;
use aegir_protocol::operation::Operation;
use aegir_protocol::record::{Header, Record, Remains};
use aegir_protocol::state::Outcome;
use futures_util::future::join_all;

/// How long the end of a killed group may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a connection for which there was no room here is tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Of so many places where something is left, or may be, the reason says all there is to say; of others the names.
const IN_FULL: usize = 3;

/// What is left of an attempt after [`end_leftovers`], place by place. Displayed for the reason of its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftovers(Vec<Site>);

/// Where an attempt may have started something.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Site {
    /// For people.
    name: String,
    /// How to look for it.
    look: String,
    /// Whether any is left, or why nobody can say.
    remains: Result<Remains, String>,
}

impl Leftovers {
    /// Whether it is certain that nothing is left anywhere.
    #[must_use]
    pub fn nothing(&self) -> bool {
        self.0.iter().all(|place| place.remains == Ok(Remains::Gone))
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gone, other): (Vec<_>, Vec<_>) =
            self.0.iter().partition(|place| place.remains == Ok(Remains::Gone));
        let names = |places: &[&Site]| places.iter().map(|place| &*place.name).collect::<Vec<_>>().join(", ");
        let mut sentences = Vec::new();
        if !gone.is_empty() {
            sentences.push(format!("nothing that it started is left on {}", names(&gone)));
        }
        let (in_full, by_name) = other.split_at(other.len().min(IN_FULL));
        for Site { name, look, remains } in in_full {
            let found = match remains {
                Ok(_) => format!("what it started on {name} can't be ended"),
                Err(why) => format!("whether anything that it started is left on {name} is not known: {why}"),
            };
            sentences.push(format!("{found}; {look}"));
        }
        if !by_name.is_empty() {
            sentences.push(format!("look in the same way on {}", names(by_name)));
        }
        f.write_str(&sentences.join("; "))
    }
}

/// For whoever finds the lock of an attempt free and its transcript unfinished: kills the child's process
/// group, then what the attempt started on its minions, and removes what the runner would have removed.
/// Report `lost` only after this. Takes at most a minute or so for a minion that does not answer,
/// and waits while there is no room here for a connection.
pub async fn end_leftovers(attempt: AttemptId, directory: &AttemptDirectory) -> Leftovers {
    let local = match Recorded::read(&directory.child()) {
        Ok(None) => Ok(Remains::Gone),
        Ok(Some(recorded)) => Ok(group::end(recorded.still_there(), recorded.marker(), PATIENCE).await),
        Err(error) => Err(unreadable(&directory.child(), &error)),
    };
    if local == Ok(Remains::Gone) {
        let _ = std::fs::remove_file(directory.child());
    }
    let marked = |name: &str, marker: &str, remains| {
        let look = format!("`grep -lszx {marker}={attempt} /proc/[0-9]*/environ` as root on {name} lists it");
        Site { name: name.to_owned(), look, remains }
    };
    let mut places = vec![marked("the node", group::MARKER, local)];
    let (operation, plan) = match read(directory) {
        Ok(read) => read,
        Err(why) => {
            places.push(marked("its minions", aegir_minions::MARKER, Err(why)));
            return Leftovers(places);
        }
    };
    let markers = markers(attempt, &plan, directory);
    let is_plugin = |task: &&PlannedTask| matches!(task.action, TaskAction::Plugin { .. });
    let used = |name: &_| plan.tasks.iter().any(|task| !is_plugin(&task) && task.hosts.contains(name));
    let ends = operation.hosts.iter().filter(|host| used(&host.name)).map(async |host| {
        let open = || Minion::open(Login::of(host, &plan.settings), &plan.settings.runtime_directory, None);
        let opened = loop {
            match open().await {
                // The minion has nothing to do with that, and something may run there.
                Err(MinionError::NoRoom(_)) => tokio::time::sleep(LOOK_AGAIN).await,
                opened => break opened,
            }
        };
        let remains = match opened {
            Ok(minion) => minion.try_end(&markers).await,
            Err(error) => Err(error),
        };
        let remains = remains.map_err(|error| error.to_string());
        marked(host.name.as_str(), aegir_minions::MARKER, remains)
    });
    places.extend(join_all(ends).await);
    // The directory of a Task is there while it runs.
    let runs = |task: &&PlannedTask| directory.task(task.number, task.name.as_str()).exists();
    places.extend(plan.tasks.iter().filter(is_plugin).filter(runs).map(|task| Site {
        name: format!("what the plug-in {} works on", task.action.runner()),
        look: format!("look there for what task {} does", task.name),
        remains: Err("its runner was gone before it could be asked".to_owned()),
    }));
    let _ = std::fs::remove_dir_all(directory.path().join("tasks"));
    let private = PrivateDirectory::path_of(&plan.settings.runtime_directory, attempt);
    let _ = std::fs::remove_dir_all(private);
    Leftovers(places)
}

/// What marks the attempt's processes. What a Task that had its end was to leave lives on.
fn markers(attempt: AttemptId, plan: &TaskPlan, directory: &AttemptDirectory) -> Vec<String> {
    let mut markers = vec![attempt.to_string()];
    let leaves = |task: &&PlannedTask| task.leaves_processes && task.done.is_none();
    if plan.tasks.iter().any(|task| leaves(&task)) {
        let finished = finished(&directory.transcript());
        let unfinished = plan.tasks.iter().filter(leaves).filter(|task| !finished.contains(&task.number));
        markers.extend(unfinished.map(|task| task.marker(attempt)));
    }
    markers
}

/// The Tasks that have succeeded, as far as the transcript can be read.
fn finished(transcript: &Path) -> Vec<u32> {
    let Ok(file) = std::fs::File::open(transcript) else { return Vec::new() };
    let lines = io::BufReader::new(file).split(b'\n').map_while(Result::ok);
    let records = lines.filter_map(|line| Header::read(&line).ok()?.record().ok()?);
    let finished = records.filter_map(|record| match record {
        Record::TaskFinished(task) if task.outcome == Outcome::Succeeded => Some(task.task),
        _ => None,
    });
    finished.collect()
}

fn read(directory: &AttemptDirectory) -> Result<(Operation, TaskPlan), String> {
    let operation = directory.operation();
    let failed = |error: io::Error| unreadable(&operation, &error);
    let bytes = std::fs::read(&operation).map_err(failed)?;
    let decoded = message::decode(&bytes).map_err(|error| failed(io::Error::other(error)))?;
    let plan = directory.plan();
    let failed = |error: io::Error| unreadable(&plan, &error);
    let bytes = std::fs::read(&plan).map_err(failed)?;
    Ok((decoded, serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))?))
}

fn unreadable(path: &Path, error: &io::Error) -> String {
    format!("can't read {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, remains: Result<Remains, &str>) -> Site {
        let look = format!("`grep -lszx M=1/2 /proc/[0-9]*/environ` as root on {name} lists it");
        Site { name: name.to_owned(), look, remains: remains.map_err(str::to_owned) }
    }

    #[test]
    fn what_is_left_is_said_place_by_place() {
        let gone = Leftovers(vec![place("the node", Ok(Remains::Gone)), place("web1", Ok(Remains::Gone))]);
        assert!(gone.nothing());
        assert_eq!(gone.to_string(), "nothing that it started is left on the node, web1");
        let some = ["web3", "web4", "web5"].map(|name| place(name, Err("no route")));
        let mut places = vec![place("the node", Ok(Remains::Left)), place("web2", Ok(Remains::Gone))];
        places.extend(some);
        let some = Leftovers(places);
        assert!(!some.nothing());
        assert_eq!(
            some.to_string(),
            "nothing that it started is left on web2; what it started on the node can't be ended; \
             `grep -lszx M=1/2 /proc/[0-9]*/environ` as root on the node lists it; whether anything that it started \
             is left on web3 is not known: no route; `grep -lszx M=1/2 /proc/[0-9]*/environ` as root on web3 lists it; \
             whether anything that it started is left on web4 is not known: no route; `grep -lszx M=1/2 \
             /proc/[0-9]*/environ` as root on web4 lists it; look in the same way on web5"
        );
    }
}
