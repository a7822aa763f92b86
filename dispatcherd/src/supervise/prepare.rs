//! From a granted attempt to a running runner.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aegir_attempt::lock;
use aegir_attempt::plan::TaskPlan;
use aegir_protocol::code::Code;
use aegir_protocol::id::AttemptId;
use aegir_protocol::message::Lease;
use aegir_protocol::state::Reason;
use aegir_service::io_error::is_transient;
use tokio::process::Child;

use crate::catalog::snapshot::{SnapshotError, keep_plugins};
use crate::journal::JournalError;
use crate::launch;
use crate::node::Node;
use crate::planner;

/// How often a start is tried that fails for the machine's reasons, and how long between.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(3);

/// What became of a start.
pub(super) enum StartResult {
    /// The runner runs, and is our child.
    Running(Child),
    /// An earlier process has started it already.
    StartedBefore,
    /// It can't be started now, for reasons of the machine such as a full disk.
    NotNow,
    /// It can't be started.
    Rejected(Reason),
}

/// Why this try failed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("could not start the runner: {0}")]
    Spawn(#[source] io::Error),
    #[error("dispatcherd's own plug-ins for Ansible can't be kept: {0}")]
    Plugins(#[from] SnapshotError),
    #[error("the roles can't be read or copied now, see dispatcherd's log")]
    NoRoles,
}

impl StartError {
    /// Whether it says nothing against the attempt, such as a full disk.
    fn is_transient(&self) -> bool {
        match self {
            Self::Journal(JournalError { error, .. }) | Self::Spawn(error) => is_transient(error),
            Self::Plugins(error) => error.is_transient(),
            Self::NoRoles => true,
        }
    }
}

/// Plans an attempt and starts its runner. What fails without a reason that will pass is tried again for half a
/// minute.
pub(super) async fn prepare(node: &Arc<Node>, attempt: AttemptId, lease: Option<Lease>) -> StartResult {
    let mut tries = 0;
    loop {
        let error = match once(node, attempt, lease).await {
            Ok(prepared) => {
                node.blocked_starts.remove(attempt);
                return prepared;
            }
            Err(error) => error,
        };
        tries += u32::from(!error.is_transient());
        tracing::error!(
            operation_id = %attempt.operation, attempt = attempt.attempt.get(), tries, %error,
            "an attempt can't be started"
        );
        if tries >= TRIES {
            let message = format!("node {}: {error}", node.planning.node);
            return StartResult::Rejected(Code::RunnerFailed.because(message));
        }
        if error.is_transient() {
            node.blocked_starts
                .insert(attempt, Code::DiskFull.because(format!("it can't be started: {error}")));
        }
        tokio::time::sleep(PAUSE).await;
        if error.is_transient() {
            return StartResult::NotNow;
        }
    }
}

async fn once(node: &Arc<Node>, attempt: AttemptId, lease: Option<Lease>) -> Result<StartResult, StartError> {
    let directory = node.journal.directory(attempt);
    // A transcript means that a runner was started; so does a lock that is held, by one that has only begun.
    let started = directory.transcript().exists() || lock::alive(&directory).map_err(StartError::Spawn)?;
    if started {
        return Ok(StartResult::StartedBefore);
    }
    let catalog = node.catalog.borrow().clone().ok_or(StartError::NoRoles)?;
    let planned = node
        .on_disk(move |node| {
            let operation = node.journal.operation(attempt)?;
            if let Some(lease) = lease {
                node.journal.keep_lease(attempt, lease)?;
            }
            // An upgrade of the package changes nothing under an attempt: it runs with what there is now.
            let settings = &node.planning.settings;
            let plugins = keep_plugins(&settings.content_directory, &settings.ansible_plugins)?;
            Ok::<_, StartError>(match planner::plan(&operation, &catalog, &node.planning) {
                Ok(plan) => Ok(node.journal.keep_plan(&TaskPlan { plugins, ..plan })?),
                Err(reason) => Err(reason),
            })
        })
        .await?;
    if let Err(reason) = planned {
        return Ok(StartResult::Rejected(reason));
    }
    launch::start(&node.launcher, &directory).map(StartResult::Running).map_err(StartError::Spawn)
}
