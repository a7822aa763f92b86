//! Ending what a dead runner has left, here and on its minions.

use std::time::Duration;

use aegir_protocol::message;
use aegir_protocol::operation::Operation;
use aegir_protocol::record::Remains;
use futures_util::future::join_all;

use super::group::{self, Recorded};
use super::work::worse;
use crate::journal::AttemptDirectory;
use crate::minions::{Login, Minion};
use crate::plan::Plan;
use crate::secrets::PrivateDirectory;

/// How long the end of a killed group may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is left after [`end_leftovers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leftovers {
    /// The child's process group beside dispatcherd.
    pub local: Remains,
    /// The processes on the minions.
    pub remote: Remains,
}

/// For whoever finds the lock of an attempt free and its transcript unfinished: kills the child's process
/// group, then what the attempt started on its minions, and removes what the runner would have removed.
/// Report `lost` only after this. Takes at most a minute or so for a minion that does not answer.
pub async fn end_leftovers(directory: &AttemptDirectory) -> Leftovers {
    let local = match Recorded::read(&directory.child()) {
        Ok(None) => Remains::Gone,
        Ok(Some(recorded)) => group::end(recorded.still_there(), recorded.marker(), PATIENCE).await,
        Err(error) => {
            tracing::warn!(%error, "the record of a dead runner's child can't be read");
            Remains::Unknown
        }
    };
    let read = || -> Option<(Operation, Plan)> {
        let operation = message::decode(&std::fs::read(directory.operation()).ok()?).ok()?;
        let plan = serde_json::from_slice(&std::fs::read(directory.plan()).ok()?).ok()?;
        Some((operation, plan))
    };
    let Some((operation, plan)) = read() else {
        return Leftovers { local, remote: Remains::Unknown };
    };
    let marker = [operation.attempt_id().to_string()];
    let used = |name: &_| plan.tasks.iter().any(|task| task.hosts.contains(name));
    let ends = operation.hosts.iter().filter(|host| used(&host.name)).map(async |host| {
        let login = Login::of(host, &plan.settings);
        match Minion::open(login, &plan.settings.runtime_directory, None).await {
            Ok(minion) => minion.end(&marker).await,
            Err(_) => Remains::Unknown,
        }
    });
    let remote = join_all(ends).await.into_iter().fold(Remains::Gone, worse);
    let _ = std::fs::remove_dir_all(directory.path().join("tasks"));
    let private = PrivateDirectory::path_of(&plan.settings.runtime_directory, operation.attempt_id());
    let _ = std::fs::remove_dir_all(private);
    if local == Remains::Gone {
        let _ = std::fs::remove_file(directory.child());
    }
    Leftovers { local, remote }
}
