//! What was said of a target, for Tasks that do not say it again: a ConfigMap beside the Task's objects.
//!
//! It is applied as they are, so a plan shows it, its hash covers it, and it goes with the target's namespace. What somebody has
//! written there by hand is held to the manifest's schemas like what is sent, and written over by what holds from now on.

use aegir_catalog::manifest::VariableManifest;
use aegir_catalog::runner::Input;
use aegir_protocol::name::VariableName;
use serde_json::{Map, Value, json};

use super::cluster::KubernetesCluster;
use super::object::ObjectId;
use super::settings::KubernetesSettings;
use crate::error::Error;
use crate::task::Task;

/// The most that the data of a ConfigMap may be, in bytes. A server refuses more, but in a namespace that is not there yet only
/// after all other objects were made.
const LARGEST: usize = 1024 * 1024;

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
            let refused = |problem: &str| {
                Error::Refused(format!(
                    "{name} in ConfigMap/{} {problem}: somebody has changed it, or the role. Give the variable {name} a value",
                    cluster.record()
                ))
            };
            let value: Value = value.ok_or_else(|| refused("is no JSON"))?;
            let faults = task.input.declared.get(name).map(|declared| declared.faults(&value));
            if let Some((at, fault)) = faults.into_iter().flatten().next() {
                return Err(refused(&format!("does not fit ({}{fault})", prefix(&at))));
            }
            task.input.variables.insert(name.clone(), value);
            data.insert(name.to_string(), text.clone());
            holding.push(name.as_str());
        }
    }
    if !holding.is_empty() {
        task.step(&format!("As last sent: {}", holding.join(", ")), false, None)?;
    }
    check_size(&data)?;
    Ok(Some(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": cluster.record()}, "data": data}),
    ))
}

fn prefix(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("{pointer}: ") }
}

fn check_size(data: &Map<String, Value>) -> Result<(), Error> {
    let sizes = || data.iter().map(|(name, text)| (text.as_str().map_or(0, str::len), name));
    let total: usize = sizes().map(|(size, _)| size).sum();
    match sizes().max() {
        Some((size, name)) if total > LARGEST => Err(Error::Refused(format!(
            "what is to be recorded has {total} bytes as JSON, {size} of them in {name}, and a ConfigMap holds {LARGEST}: give \
             the variable {name} a shorter value"
        ))),
        Some(_) | None => Ok(()),
    }
}

/// With what a record is applied: it is ours alone, so what somebody has written there by hand is no conflict.
pub(super) fn forced(settings: &KubernetesSettings) -> KubernetesSettings {
    KubernetesSettings { force_conflicts: true, ..settings.clone() }
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
        if is_secret(input, name)
            || settings.set.iter().any(|set| set.object.starts_with("Secret/") && set.takes(name))
        {
            return Err(format!(
                "`record` names the variable {name}, which is secret or goes into a Secret: a record is for everybody to read \
                 who may read a ConfigMap"
            ));
        }
    }
    Ok(())
}

/// Whether the manifest says that a variable is secret.
pub(super) fn is_secret(input: &Input, name: &VariableName) -> bool {
    input.declared.get(name).is_some_and(VariableManifest::secret)
}
