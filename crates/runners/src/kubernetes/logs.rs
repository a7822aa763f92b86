//! The logs of what runs, as the Task's output.

use serde_json::json;

use super::cluster::Cluster;
use super::diagnose::selector;
use super::object::WORKLOADS;
use super::settings::Logs;
use crate::digest::Inputs;
use crate::error::Error;
use crate::task::Task;

/// There is nothing to change.
pub(super) fn plan(task: &mut Task) -> Result<(), Error> {
    task.step("Reading logs changes nothing", false, None)?;
    task.plan(Inputs::default().hash(), json!([]))
}

/// Prints the ends of the logs of all pods, each line with its pod.
pub(super) fn show(cluster: &Cluster, logs: &Logs, task: &mut Task) -> Result<(), Error> {
    if cluster.namespace_there()?.is_none() {
        return Err(Error::Refused(format!(
            "there is no namespace {}: nothing was deployed",
            cluster.namespace
        )));
    }
    for name in &logs.of {
        task.doing(50, &format!("Show the logs of {name}"))?;
        let Some((kind, object)) = workload(name) else {
            return Err(Error::Role(format!(
                "`logs` names {name:?}, which is no Deployment, StatefulSet or DaemonSet"
            )));
        };
        let Some(workload) = cluster.get(&["get", kind, object, "--ignore-not-found"], None)?.pop() else {
            return Err(Error::Refused(format!("there is no {name} in {}", cluster.namespace)));
        };
        let (selector, lines) = (selector(&workload), format!("--tail={}", logs.lines));
        let arguments = [
            "logs",
            "--selector",
            &selector,
            "--all-containers",
            "--prefix",
            "--max-log-requests=100",
            &lines,
        ];
        cluster.program.show(&arguments, None)?;
    }
    Ok(())
}

/// `Deployment/site` as kubectl takes it.
fn workload(name: &str) -> Option<(&'static str, &str)> {
    let (kind, object) = name.split_once('/')?;
    let kind = WORKLOADS.into_iter().find(|known| known.split('.').next() == Some(kind))?;
    Some((kind, object))
}
