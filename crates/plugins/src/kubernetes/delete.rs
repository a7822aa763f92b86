//! Taking away.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::change::{Change, Changes};
use super::cluster::KubernetesCluster;
use super::object::CLAIM;
use super::rollout;
use super::settings::KubernetesSettings;
use crate::error::Error;
use crate::task::Task;

/// Says what goes with the target's namespace.
pub(super) fn plan(cluster: &KubernetesCluster, task: &mut Task) -> Result<(), Error> {
    let changes = find(cluster, task)?;
    changes.report(task)?;
    task.plan(changes.hash(), changes.listed(cluster))
}

/// Deletes the target's namespace with all in it, and waits until it is gone.
pub(super) fn apply(
    cluster: &KubernetesCluster,
    settings: &KubernetesSettings,
    task: &mut Task,
) -> Result<(), Error> {
    let changes = find(cluster, task)?;
    task.check_approved(&changes.hash())?;
    if changes.0.is_empty() {
        return task.step(&format!("The namespace {} is not there", cluster.namespace), false, None);
    }
    task.doing(30, &format!("Delete the namespace {}", cluster.namespace))?;
    let timeout = rollout::timeout(Instant::now() + Duration::from_secs(settings.timeout_seconds));
    let arguments =
        ["delete", "namespace", &cluster.namespace, "--ignore-not-found", "--wait=true", &timeout];
    cluster.program.show(&arguments, None)?;
    // That kubectl has ended well is no proof that it waited to the end.
    let deleted = changes.0.iter().find_map(|change| change.before()).map(|namespace| &namespace["uid"]);
    if cluster.namespace_now()?.is_some_and(|now| Some(&now["metadata"]["uid"]) == deleted) {
        return Err(Error::Refused(format!(
            "the namespace {} is still there: the cluster may go on deleting it; `kubectl describe namespace` says what it \
             waits for",
            cluster.namespace
        )));
    }
    changes.report(task)
}

/// The namespace, the target's objects in it, and the volumes, whoever made them.
fn find(cluster: &KubernetesCluster, task: &mut Task) -> Result<Changes, Error> {
    task.doing(15, "Ask the cluster what is there")?;
    let Some(namespace) = cluster.namespace_there()? else { return Ok(Changes(Vec::new())) };
    let mut objects = vec![namespace];
    objects.extend(
        cluster.labelled(&cluster.kinds(), false)?.into_iter().filter(|object| object["kind"] != CLAIM),
    );
    objects.extend(cluster.get(&["get", CLAIM, "--ignore-not-found"], None)?);
    Ok(Changes(objects.iter().map(|object| Change::delete(&trimmed(object))).collect()))
}

/// What is about to go is told by its name; a Secret's content is nobody's business any more. The uid tells it from one that
/// was made anew.
fn trimmed(object: &Value) -> Value {
    let metadata = &object["metadata"];
    json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "uid": metadata["uid"],
        "metadata": {"name": metadata["name"]}})
}
