//! What goes on behind a connection that broke.
//!
//! The loss of a connection does not end what a step had started behind it. That is looked for at the end of the Task, on
//! the host where it was cut off, by the time at which the step began: what other steps have started there, in the
//! background, is none of it and runs on.

use std::collections::BTreeMap;

use aegir_minions::Minion;
use aegir_protocol::name::HostName;
use aegir_protocol::record::{Remains, Step, StepStatus};
use aegir_protocol::state::Reason;
use futures_util::future::join_all;

use super::super::step_stats::StepStats;
use super::super::task_end::worse;
use super::super::work::AttemptContext;

/// Ends what was cut off, and says so in the transcript. `down` are the minions that could not be reached before the Task.
pub(super) async fn end(
    work: &AttemptContext<'_>,
    step_stats: &StepStats,
    minions: &BTreeMap<HostName, Minion>,
    down: &BTreeMap<HostName, Reason>,
) -> Remains {
    let cut_off = minions.iter().filter_map(|(name, minion)| {
        // Nothing was started on a host that was never reached.
        let never = down.contains_key(name) && !step_stats.reached.contains(name.as_str());
        let of_host = step_stats.cut_off.iter().filter(|cut_off| cut_off.host == name.as_str());
        let windows: Vec<_> = of_host.map(|cut_off| (cut_off.since, cut_off.until)).collect();
        (!never && !windows.is_empty()).then_some((name, minion, windows))
    });
    let ends = join_all(cut_off.map(|(name, minion, windows)| async move {
        let found = look(work, minion, &windows).await;
        let (remains, said) = match found {
            Ok((0, _)) => return Remains::Gone,
            Ok((count, remains)) => {
                let left = if remains == Remains::Gone { "" } else { ", and could not end all of them" };
                (remains, format!("ended {count} processes that had lost their connection{left}"))
            }
            Err(why) => {
                let said = "whether something goes on that has lost its connection is not known";
                (Remains::Unknown, format!("{said}: {why}"))
            }
        };
        work.recorder.borrow_mut().step(step(name, said));
        remains
    }));
    ends.await.into_iter().fold(Remains::Gone, worse)
}

async fn look(
    work: &AttemptContext<'_>,
    minion: &Minion,
    windows: &[(u64, u64)],
) -> Result<(usize, Remains), String> {
    // The connection that all share is the one that broke.
    let runtime = &work.plan.settings.runtime_directory;
    let minion =
        Minion::open(minion.login().clone(), runtime, None).await.map_err(|error| error.to_string())?;
    minion.end_steps(&[work.marker()], windows).await
}

fn step(host: &HostName, message: String) -> Step {
    Step {
        task: 0,
        name: "End what a lost connection has cut off".to_owned(),
        action: String::new(),
        host: host.to_string(),
        status: StepStatus::Ignored,
        item: None,
        duration_ms: 0,
        message: Some(message),
        diff: None,
    }
}
