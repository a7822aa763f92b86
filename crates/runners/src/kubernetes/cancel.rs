//! After it was stopped: what the cluster still does of itself.

use serde_json::Value;

use super::cluster::Cluster;
use super::object::{Id, WORKLOADS};
use crate::error::Error;
use crate::task::Task;

/// kubectl leaves nothing running. But a cluster goes on with what it was told until it is there, and that is not taken back.
/// So this says whether it has come to rest.
pub(super) fn look(cluster: &Cluster, task: &mut Task) -> Result<(), Error> {
    task.doing(50, "Ask the cluster whether it has come to rest")?;
    let Some(namespace) = cluster.namespace_there()? else { return Ok(()) };
    if !namespace["metadata"]["deletionTimestamp"].is_null() {
        return Err(Error::GoesOn(format!(
            "the cluster goes on deleting the namespace {}",
            cluster.namespace
        )));
    }
    let workloads = cluster.labelled(&WORKLOADS.join(","), false)?;
    let moving: Vec<_> =
        workloads.iter().filter(|object| !at_rest(object)).map(|object| Id::of(object).to_string()).collect();
    if moving.is_empty() {
        return Ok(());
    }
    Err(Error::GoesOn(format!(
        "the cluster goes on bringing up {} in {}",
        moving.join(", "),
        cluster.namespace
    )))
}

/// Whether all pods of a Deployment, StatefulSet or DaemonSet are there, as it was told last.
fn at_rest(object: &Value) -> bool {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let (spec, status) = (&object["spec"], &object["status"]);
    if number(&status["observedGeneration"]) < number(&object["metadata"]["generation"]) {
        return false;
    }
    if object["kind"] == "DaemonSet" {
        let wanted = number(&status["desiredNumberScheduled"]);
        return number(&status["updatedNumberScheduled"]) >= wanted
            && number(&status["numberAvailable"]) >= wanted;
    }
    let wanted = spec["replicas"].as_u64().unwrap_or(1);
    let ready = number(&status["readyReplicas"]);
    number(&status["updatedReplicas"]) >= wanted && ready >= wanted && number(&status["replicas"]) <= wanted
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workload_is_at_rest_when_all_its_pods_are_new_and_ready() {
        let deployment = |observed: u64, updated: u64, ready: u64, replicas: u64| {
            json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2}, "status": {
                "observedGeneration": observed, "updatedReplicas": updated, "readyReplicas": ready, "replicas": replicas}})
        };
        assert!(at_rest(&deployment(2, 2, 2, 2)));
        for moving in [
            deployment(1, 2, 2, 2),
            deployment(2, 1, 2, 2),
            deployment(2, 2, 1, 2),
            deployment(2, 2, 2, 3),
            json!({"kind": "StatefulSet", "metadata": {"generation": 1}, "spec": {}, "status": {}}),
        ] {
            assert!(!at_rest(&moving), "{moving}");
        }
    }
}
