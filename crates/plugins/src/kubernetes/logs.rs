//! The logs of what runs, as the Task's output.

use serde_json::json;

use super::cluster::KubernetesCluster;
use super::diagnose::selector;
use super::object::{ObjectId, WORKLOADS};
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
///
/// Of what can't be shown the first error is given back when all else was shown: logs are asked for when something is wrong.
pub(super) fn show(cluster: &mut KubernetesCluster, logs: &Logs, task: &mut Task) -> Result<(), Error> {
    let workloads: Vec<_> = logs.of.iter().map(|name| workload(name)).collect::<Result<_, _>>()?;
    if cluster.namespace_there()?.is_none() {
        return Err(Error::Refused(format!(
            "there is no namespace {}: nothing was deployed",
            cluster.namespace
        )));
    }
    // A program may well print what it was given.
    cluster.hide_secrets()?;
    let mut shown = Ok(());
    for (name, (kind, object)) in logs.of.iter().zip(workloads) {
        task.doing(50, &format!("Show the logs of {name}"))?;
        let this = show_one(cluster, kind, object, logs.lines);
        shown = shown.and(this);
    }
    shown
}

fn show_one(cluster: &KubernetesCluster, kind: &str, object: &str, lines: u32) -> Result<(), Error> {
    let Some(workload) = cluster.get(&["get", kind, object, "--ignore-not-found"], None)?.pop() else {
        let id = ObjectId { kind: kind.to_owned(), name: object.to_owned() };
        return Err(Error::Refused(format!("there is no {id} in {}", cluster.namespace)));
    };
    let (selector, lines) = (selector(&workload), format!("--tail={lines}"));
    let arguments =
        ["logs", "--selector", &selector, "--all-containers", "--prefix", "--max-log-requests=100", &lines];
    cluster.program.show(&arguments, None)
}

/// `Deployment/site` as kubectl takes it.
fn workload(name: &str) -> Result<(&'static str, &str), Error> {
    let found = name.split_once('/').and_then(|(kind, object)| {
        let kind = WORKLOADS.into_iter().find(|known| known.split('.').next() == Some(kind))?;
        Some((kind, object))
    });
    found.ok_or_else(|| {
        Error::Role(format!("`logs` names {name:?}, which is no Deployment, StatefulSet or DaemonSet"))
    })
}
