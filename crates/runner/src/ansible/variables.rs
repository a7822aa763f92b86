//! The variables of one Task, as data.
//!
//! Ansible evaluates a string of an extra-vars file as a template, on the backend, as dispatcherd's user. In
//! a JSON file `{"__ansible_unsafe": "…"}` stands for a string that is never evaluated, in every version from
//! 2.14 on, also after it was copied, joined or filtered. Every string goes through [`wrapped`].

use std::collections::BTreeMap;

use aegir_attempt::plan::PlannedTask;
use aegir_protocol::operation::sealed;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::super::outputs::OutputValue;
use super::super::work::AttemptContext;

/// The dictionary that every Task has beside its variables.
const ABOUT: &str = "aegir";

/// A value that Ansible would not take for data. relayd and the planner refuse it long before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {0:?} has a meaning of its own in Ansible and can't be in a value")]
pub(in super::super) struct NotData(String);

/// A value whose strings are never evaluated.
pub(super) fn wrapped(value: &Value) -> Result<Value, NotData> {
    Ok(match value {
        Value::String(text) => json!({ "__ansible_unsafe": text }),
        Value::Array(items) => Value::Array(items.iter().map(wrapped).collect::<Result<_, _>>()?),
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| {
                if key.starts_with("__ansible") {
                    return Err(NotData(key.chars().take(64).collect()));
                }
                Ok((key.clone(), wrapped(value)?))
            };
            Value::Object(object.iter().map(entry).collect::<Result<Map<_, _>, _>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Whether Ansible takes a value for data, strings wrapped.
pub(in super::super) fn is_data(value: &Value) -> Result<(), NotData> {
    wrapped(value).map(drop)
}

/// The Task's variables, each named `<role>_<variable>` after its role and those that it uses, and the dictionary `aegir`.
pub(super) fn plain(work: &AttemptContext<'_>, task: &PlannedTask) -> Result<String, NotData> {
    let mut variables = Map::new();
    for (name, resolved) in &task.variables {
        if sealed(&resolved.value).is_none() {
            let value = wrapped(&resolved.value)?;
            variables.extend(task.names_of(name).map(|name| (name, value.clone())));
        }
    }
    let (about, secret) = about(work, task);
    if !secret {
        variables.insert(ABOUT.to_owned(), wrapped(&about)?);
    }
    Ok(Value::Object(variables).to_string())
}

/// The Task's secrets in the same form, and the dictionary if there are any in it; `None` when it has none.
pub(super) fn secret(work: &AttemptContext<'_>, task: &PlannedTask) -> Result<Option<String>, NotData> {
    let mut secrets: Map<String, Value> = work
        .secrets
        .of_task(task.number)
        .flat_map(|(name, secret)| {
            task.names_of(name).map(|name| (name, json!({ "__ansible_unsafe": secret.expose_secret() })))
        })
        .collect();
    let (about, secret) = about(work, task);
    if secret {
        secrets.insert(ABOUT.to_owned(), wrapped(&about)?);
    }
    Ok(if secrets.is_empty() { None } else { Some(Value::Object(secrets).to_string()) })
}

/// What Tasks before this one have handed over, by Task, and whether a secret is among it.
fn outputs(work: &AttemptContext<'_>) -> (Value, bool) {
    let mut secret = false;
    let mut value = |held: &OutputValue| match held {
        OutputValue::Plain(value) => value.clone(),
        OutputValue::Secret(text) => {
            secret = true;
            Value::String(text.expose_secret().to_owned())
        }
    };
    let recorder = work.recorder.borrow();
    let mut by_task = Map::new();
    for (task, documents) in recorder.outputs().by_task() {
        let documents = documents.iter().map(|(name, held)| (name.to_string(), value(held))).collect();
        by_task.insert(task.to_string(), Value::Object(documents));
    }
    (Value::Object(by_task), secret)
}

/// What a role may want to know of the Operation. `hosts` are the Task's minions by name with address, port
/// and services; `services` has for each service the minions that offer it, with its settings on each. Says whether
/// there is a secret in it.
fn about(work: &AttemptContext<'_>, task: &PlannedTask) -> (Value, bool) {
    let operation = work.operation;
    let mut hosts = Map::new();
    let mut services: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for host in work.hosts(task) {
        for (service, settings) in &host.services {
            services.entry(service.to_string()).or_default().insert(host.name.to_string(), json!(settings));
        }
        let about =
            json!({ "address": host.ssh_address(), "port": host.ssh_port(), "services": host.services });
        hosts.insert(host.name.to_string(), about);
    }
    let (outputs, secret) = outputs(work);
    let about = json!({
        "operation": operation.id,
        "name": operation.name,
        "attempt": operation.attempt,
        "check": operation.check,
        "target": operation.target,
        "task": task.name,
        "hosts": hosts,
        "services": services,
        "content_roots": work.plan.settings.content_roots,
        "outputs": outputs,
    });
    (about, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_is_wrapped_however_deep() {
        let value = json!({ "a": ["{{ x }}", 1, { "b": "c" }], "d": null, "{{ key }}": true });
        let expected = json!({
            "a": [{ "__ansible_unsafe": "{{ x }}" }, 1, { "b": { "__ansible_unsafe": "c" } }],
            "d": null,
            "{{ key }}": true,
        });
        assert_eq!(wrapped(&value).unwrap(), expected);
    }

    #[test]
    fn keys_that_unwrap_are_refused() {
        for key in ["__ansible_unsafe", "__ansible_vault", "__ansible_type"] {
            assert!(wrapped(&json!([{ key: "x" }])).is_err());
        }
    }
}
