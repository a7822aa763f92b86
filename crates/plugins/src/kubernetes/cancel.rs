//! After it was stopped: what the cluster still does of itself.

use serde_json::Value;

use super::cluster::KubernetesCluster;
use super::object::ObjectId;
use crate::error::Error;
use crate::task::Task;

/// kubectl leaves nothing running. But a cluster goes on with what it was told until it is there, and that is not taken back.
/// So this says whether it has come to rest.
pub(super) fn look(cluster: &KubernetesCluster, task: &mut Task) -> Result<(), Error> {
    task.doing(50, "Ask the cluster whether it has come to rest")?;
    let Some(namespace) = cluster.namespace_there()? else { return Ok(()) };
    if !namespace["metadata"]["deletionTimestamp"].is_null() {
        return Err(Error::GoesOn(format!(
            "the cluster goes on deleting the namespace {}",
            cluster.namespace
        )));
    }
    let moving: Vec<_> = cluster.labelled(&cluster.kinds(), false)?.iter().filter_map(moving).collect();
    if moving.is_empty() {
        return Ok(());
    }
    Err(Error::GoesOn(format!("the cluster goes on {} in {}", moving.join(", "), cluster.namespace)))
}

/// What the cluster still does with an object.
fn moving(object: &Value) -> Option<String> {
    let id = ObjectId::of(object);
    if !object["metadata"]["deletionTimestamp"].is_null() {
        Some(format!("deleting {id}"))
    } else if id.kind == "Job.batch" {
        (!has_ended(object)).then(|| format!("running {id}"))
    } else {
        (id.is_workload() && !at_rest(object)).then(|| format!("bringing up {id}"))
    }
}

fn has_ended(job: &Value) -> bool {
    let conditions = job["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| {
        condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
    })
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

    #[test]
    fn a_job_runs_until_it_is_complete_or_has_failed() {
        let job = |kind: &str, status: &str| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"},
                "status": {"conditions": [{"type": kind, "status": status}]}})
        };
        for ended in [job("Complete", "True"), job("Failed", "True")] {
            assert_eq!(moving(&ended), None, "{ended}");
        }
        let new = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}});
        for running in [new, job("Complete", "False"), job("FailureTarget", "True")] {
            assert_eq!(moving(&running).as_deref(), Some("running Job/x"), "{running}");
        }
    }

    #[test]
    fn what_is_being_deleted_is_not_at_rest() {
        let service = |time: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x", "deletionTimestamp": time}});
        assert_eq!(moving(&service(json!("2026-01-01T00:00:01Z"))).as_deref(), Some("deleting Service/x"));
        assert_eq!(moving(&service(Value::Null)), None);
    }
}
