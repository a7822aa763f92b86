//! Waiting until what was deployed is up.

use std::time::Instant;

use serde_json::Value;

use super::cluster::Cluster;
use super::diagnose;
use super::object::Id;
use crate::error::Error;
use crate::interrupt;
use crate::task::Task;

/// Waits for every workload, one after the other; they come up at the same time.
pub(super) fn wait(
    cluster: &Cluster,
    objects: &[Value],
    until: Instant,
    task: &mut Task,
) -> Result<(), Error> {
    let workloads: Vec<_> = objects.iter().filter(|object| Id::of(object).is_workload()).collect();
    for (number, object) in (0..).zip(&workloads) {
        let id = Id::of(object);
        let percent = 50 + 50 * number / u8::try_from(workloads.len()).unwrap_or(u8::MAX).max(1);
        task.doing(percent, &format!("Wait for {id}"))?;
        // 0 would be no limit.
        let left = until.saturating_duration_since(Instant::now()).as_secs().max(1);
        let what = format!("{}/{}", id.kind, id.name);
        let ran =
            cluster.program.run(&["rollout", "status", &what, &format!("--timeout={left}s")], None, true)?;
        interrupt::check()?;
        if let Err(error) = cluster.program.went_well(&ran) {
            let pods = diagnose::show(cluster, object).unwrap_or_else(|error| error.to_string());
            return Err(Error::Refused(format!("{id} did not come up: {pods} ({error})")));
        }
        task.step(&format!("{id} is up"), false, None)?;
    }
    Ok(())
}
