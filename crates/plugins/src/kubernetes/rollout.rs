//! Waiting until what was deployed is up.

use std::time::Instant;

use serde_json::Value;

use super::cluster::KubernetesCluster;
use super::diagnose;
use super::object::ObjectId;
use crate::error::Error;
use crate::interrupt;
use crate::task::Task;

/// Waits for every workload, one after the other; they come up at the same time.
pub(super) fn wait(
    cluster: &KubernetesCluster,
    objects: &[Value],
    until: Instant,
    task: &mut Task,
) -> Result<(), Error> {
    let workloads: Vec<_> = objects.iter().filter(|object| ObjectId::of(object).is_workload()).collect();
    for (number, object) in workloads.iter().enumerate() {
        let id = ObjectId::of(object);
        task.doing(percent(number, workloads.len()), &format!("Wait for {id}"))?;
        let what = format!("{}/{}", id.kind, id.name);
        let ran = cluster.program.run(&["rollout", "status", &what, &timeout(until)], None, true)?;
        interrupt::check()?;
        if let Err(error) = cluster.program.went_well(&ran) {
            let pods = diagnose::show(cluster, object).unwrap_or_else(|error| error.to_string());
            return Err(Error::Refused(format!("{id} did not come up: {pods} ({error})")));
        }
        task.step(&format!("{id} is up"), false, None)?;
    }
    Ok(())
}

/// How far a Task is that has waited for `number` of so many workloads: this is its second half.
fn percent(number: usize, of: usize) -> u8 {
    u8::try_from(50 + 50 * number / of.max(1)).unwrap_or(100)
}

/// What is left of the time, for kubectl: to which 0 would be no limit.
pub(super) fn timeout(until: Instant) -> String {
    format!("--timeout={}s", until.saturating_duration_since(Instant::now()).as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_have_any_number_of_workloads() {
        assert_eq!([percent(0, 1), percent(1, 2), percent(0, 0)], [50, 75, 50]);
        assert_eq!([percent(6, 7), percent(299, 300), percent(300, 300)], [92, 99, 100]);
    }

    #[test]
    fn time_that_is_over_is_not_time_without_end() {
        assert_eq!(timeout(Instant::now()), "--timeout=1s");
    }
}
