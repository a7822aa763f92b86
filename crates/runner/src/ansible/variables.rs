//! The variables of one Task, as data: every string goes through [`wrapped`].

use std::collections::BTreeMap;

use aegir_attempt::plan::PlannedTask;
use aegir_protocol::operation::sealed;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value, json};

use super::super::outputs::OutputValue;
use super::super::unsafe_text::{NotData, wrapped};
use super::super::work::AttemptContext;

/// The dictionary that every Task has beside its variables.
const ABOUT: &str = "aegir";

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
        "dry_run": operation.is_dry_run(),
        "check": operation.is_dry_run(),
        "target": operation.target,
        "task": task.name,
        "hosts": hosts,
        "services": services,
        "content_roots": work.plan.settings.content_roots,
        "outputs": outputs,
    });
    (about, secret)
}
