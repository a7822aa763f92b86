//! Planning and bringing about.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::change::{Changes, ObjectAction, apply_arguments};
use super::cluster::{KubernetesCluster, list};
use super::object::ObjectId;
use super::settings::KubernetesSettings;
use super::{record, render, rollout};
use crate::error::Error;
use crate::task::Task;

/// Says what would change.
pub(super) fn plan(
    cluster: &mut KubernetesCluster,
    settings: &KubernetesSettings,
    task: &mut Task,
) -> Result<(), Error> {
    let wanted = render::objects(cluster, settings, task)?;
    let changes = Changes::find(cluster, settings, &wanted, task)?;
    changes.report(task)?;
    task.plan(changes.hash(), changes.listed(cluster))
}

/// Changes it, and waits until it is up.
pub(super) fn apply(
    cluster: &mut KubernetesCluster,
    settings: &KubernetesSettings,
    task: &mut Task,
) -> Result<(), Error> {
    let wanted = render::objects(cluster, settings, task)?;
    let changes = Changes::find(cluster, settings, &wanted, task)?;
    task.check_approved(&changes.hash())?;
    let until = Instant::now() + Duration::from_secs(settings.timeout_seconds);
    task.doing(30, "Apply the objects")?;
    let namespace = cluster.namespace_object();
    let is_new = changes.0.iter().any(|change| change.id == ObjectId::of(&namespace));
    // Also what seems to need no change: somebody may have changed it since.
    let (recorded, wanted): (Vec<Value>, Vec<Value>) =
        wanted.into_iter().partition(|object| record::is_record(cluster, object));
    let objects = is_new.then_some(&namespace).into_iter().chain(&wanted);
    cluster.program.show(&apply_arguments(settings), Some(&list(objects)))?;
    if !recorded.is_empty() {
        // What the cluster has refused must not hold from now on.
        cluster.program.show(&apply_arguments(&record::forced(settings)), Some(&list(&recorded)))?;
    }
    let gone = changes.0.iter().filter(|change| change.action == ObjectAction::Delete);
    let gone: Vec<&Value> = gone.filter_map(|change| change.before()).collect();
    if !gone.is_empty() {
        task.doing(45, "Take away what the role no longer has")?;
        let arguments = ["delete", "--filename", "-", "--ignore-not-found", &rollout::timeout(until)];
        cluster.program.show(&arguments, Some(&list(gone)))?;
    }
    changes.report(task)?;
    rollout::wait(cluster, &wanted, until, task)
}
