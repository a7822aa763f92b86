//! What was said of a target, for Tasks that do not say it again: a ConfigMap beside the Task's objects.
//!
//! It is applied as they are, so a plan shows it, its hash covers it, and it goes with the target's namespace.

use serde_json::{Map, Value, json};

use super::cluster::KubernetesCluster;
use super::object::ObjectId;
use super::settings::KubernetesSettings;
use crate::error::Error;
use crate::task::Task;

/// Gives the Task what is recorded where it gets nothing. Answers with the record as it is to be; `None` where the role
/// has nothing recorded.
pub(super) fn complete(
    cluster: &KubernetesCluster,
    settings: &KubernetesSettings,
    task: &mut Task,
) -> Result<Option<Value>, Error> {
    if settings.record.is_empty() {
        return Ok(None);
    }
    check(settings, task).map_err(Error::Role)?;
    // In a namespace of somebody else nothing is a record.
    let there = match cluster.namespace_there()? {
        Some(_) => cluster.get(&["get", "ConfigMap", &cluster.record(), "--ignore-not-found"], None)?.pop(),
        None => None,
    };
    let recorded = there.as_ref().and_then(|record| record["data"].as_object());
    let (mut data, mut holding) = (Map::new(), Vec::new());
    for name in &settings.record {
        if let Some(value) = task.input.variables.get(name) {
            data.insert(name.to_string(), value.to_string().into());
        } else if let Some(text) = recorded.and_then(|recorded| recorded.get(name.as_str())) {
            let value = text.as_str().and_then(|text| serde_json::from_str(text).ok());
            let value = value.ok_or_else(|| {
                Error::Refused(format!(
                    "{name} in ConfigMap/{} is no JSON: somebody has changed it. Give the variable {name} a value",
                    cluster.record()
                ))
            })?;
            task.input.variables.insert(name.clone(), value);
            data.insert(name.to_string(), text.clone());
            holding.push(name.as_str());
        }
    }
    if !holding.is_empty() {
        task.step(&format!("As last sent: {}", holding.join(", ")), false, None)?;
    }
    Ok(Some(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": cluster.record()}, "data": data}),
    ))
}

/// Whether an object is the Task's record.
pub(super) fn is_record(cluster: &KubernetesCluster, object: &Value) -> bool {
    let ObjectId { kind, name } = ObjectId::of(object);
    kind == "ConfigMap" && name == cluster.record()
}

fn check(settings: &KubernetesSettings, task: &Task) -> Result<(), String> {
    let input = &task.input;
    for name in &settings.record {
        if !input.variables.contains_key(name) && !input.absent.contains(name) {
            return Err(format!(
                "`record` names the variable {name}, which the Task does not get: add it to tasks.{}.variables, or correct \
                 the name",
                input.task
            ));
        }
        if settings.set.iter().any(|set| set.object.starts_with("Secret/") && set.takes(name)) {
            return Err(format!(
                "`record` names the variable {name}, which goes into a Secret: a record is for everybody to read who may \
                 read a ConfigMap"
            ));
        }
    }
    Ok(())
}
