//! What a backend can do, and what an Operation's Tasks get.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{Manifest, OperationManifest, VariableManifest};
use aegir_protocol::code::Code;
use aegir_protocol::name::{
    BackendName, HostName, Kind, NodeName, OperationName, RoleName, TaskName, VariableName,
};
use aegir_protocol::operation::{Host, Lock, LockMode, OPERATION_SCOPE, Target, Variables};
use aegir_protocol::problem::FieldProblem;

/// What a backend can do. One of a newer version is read as far as this version understands it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Catalog {
    pub backend: BackendName,
    /// Who sends it.
    pub node: NodeName,
    /// The age recipient (public key) that secrets for this backend are sealed for.
    pub recipient: String,
    /// SHA-256 over all that follows; unchanged means that nothing is new.
    pub digest: String,
    /// The roles that can be used.
    pub roles: BTreeMap<RoleName, Role>,
    /// The roles that can't, and why.
    pub left_out: BTreeMap<String, Vec<String>>,
}

/// A role in a catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Role {
    /// SHA-256 over the role's files, or over those of its collection.
    pub digest: String,
    /// The Ansible collection that it is in: `namespace.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// What it declares.
    pub manifest: Manifest,
}

/// A variable's value for a Task, and where it comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The value; may be sealed.
    pub value: Value,
    /// The scope, or `default`.
    pub from: String,
}

/// What of an Operation is checked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What to do.
    pub name: &'a OperationName,
    /// The target's kind.
    pub target: &'a Kind,
    /// The minions.
    pub hosts: &'a [Host],
    /// The values.
    pub variables: &'a Variables,
    /// 0 to 9.
    pub priority: u8,
}

impl Catalog {
    /// The role and operation of that name.
    ///
    /// # Errors
    /// When the backend does not have it; the message lists what it has.
    pub fn find(&self, name: &OperationName) -> Result<(&Role, &OperationManifest), FieldProblem> {
        let role = self.roles.get(&name.role).ok_or_else(|| {
            let why = self.left_out.get(name.role.as_str()).map_or_else(
                || format!("Known: {}", list(self.roles.keys())),
                |reasons| format!("The backend left it out: {}", reasons.join("; ")),
            );
            let message = format!("unknown role \"{}\" on backend {}. {why}", name.role, self.backend);
            FieldProblem::new("/name", Code::UnknownRole, message)
        })?;
        let operation = role.manifest.operations.get(&name.action).ok_or_else(|| {
            let has = list(role.manifest.operations.keys());
            let message =
                format!("unknown operation \"{}\" of role {}. Known: {has}", name.action, name.role);
            FieldProblem::new("/name", Code::UnknownOperation, message)
        })?;
        Ok((role, operation))
    }
}

impl Role {
    /// The hosts that a Task runs on.
    #[must_use]
    pub fn hosts_of<'a>(&self, task: &TaskName, hosts: &'a [Host]) -> Vec<&'a Host> {
        let declared = self.manifest.tasks.get(task);
        hosts.iter().filter(|host| declared.is_none_or(|task| task.service.offered_by(host))).collect()
    }

    /// The variables of a Task with their values: the manifest's default, outranked by the value in the
    /// variable's own scope, outranked by the scope `operation`, outranked by `tasks.<task>`. Those of which each
    /// host has its own are left out.
    #[must_use]
    pub fn resolve(&self, task: &TaskName, variables: &Variables) -> BTreeMap<VariableName, Resolved> {
        let own = |variable: &VariableManifest| Some(variable.scope()?.to_owned());
        self.resolved(task, variables, |variable| if variable.of_hosts() { None } else { own(variable) })
    }

    /// The variables of a Task of which each host has its own, with those of this one.
    #[must_use]
    pub fn resolve_for(
        &self,
        task: &TaskName,
        host: &HostName,
        variables: &Variables,
    ) -> BTreeMap<VariableName, Resolved> {
        self.resolved(task, variables, |variable| variable.of_hosts().then(|| format!("hosts.{host}")))
    }

    /// `own` gives the scope that a variable's own values are in, or leaves it out.
    fn resolved(
        &self,
        task: &TaskName,
        variables: &Variables,
        own: impl Fn(&VariableManifest) -> Option<String>,
    ) -> BTreeMap<VariableName, Resolved> {
        let Some(declared) = self.manifest.tasks.get(task) else { return BTreeMap::new() };
        let value = |name: &VariableName| {
            let variable = self.manifest.variables.get(name)?;
            let scopes = [format!("tasks.{task}"), OPERATION_SCOPE.to_owned(), own(variable)?];
            let given = scopes.into_iter().find_map(|scope| {
                let value = variables.get(&scope)?.get(name.as_str())?.clone();
                Some(Resolved { value, from: scope })
            });
            let default =
                || Some(Resolved { value: variable.default()?.clone(), from: "default".to_owned() });
            given.or_else(default)
        };
        declared.variables.iter().filter_map(|name| Some((name.clone(), value(name)?))).collect()
    }

    /// The locks that an operation takes: its target exclusive, its hosts shared, what its manifest names,
    /// and what the request adds. The stronger mode wins where a thing is named twice.
    #[must_use]
    pub fn locks(
        &self,
        operation: &OperationManifest,
        target: &Target,
        hosts: &[Host],
        variables: &Variables,
        added: &[Lock],
    ) -> Vec<Lock> {
        let host_kind: Kind = "host".parse().expect("`host` is a kind");
        let mut locks = added.to_vec();
        locks.push(Lock { kind: target.kind.clone(), id: target.id.clone(), mode: LockMode::Exclusive });
        locks.extend(hosts.iter().filter_map(|host| {
            let id = host.name.as_str().parse().ok()?;
            Some(Lock { kind: host_kind.clone(), id, mode: LockMode::Shared })
        }));
        for lock in &operation.locks {
            let ids = self.named(operation, &lock.variable, variables);
            let ids = ids.filter_map(|named| named.value.as_str()?.parse().ok());
            locks.extend(ids.map(|id| Lock { kind: lock.kind.clone(), id, mode: lock.mode }));
        }
        // Exclusive sorts after shared, so the last of its kind and id is the strongest.
        locks.sort();
        let mut strongest: Vec<Lock> = Vec::with_capacity(locks.len());
        for lock in locks {
            strongest.retain(|other| (&other.kind, &other.id) != (&lock.kind, &lock.id));
            strongest.push(lock);
        }
        strongest
    }

    /// What a variable is for an operation's Tasks; not the same for all of them when some have a value of their own.
    pub(crate) fn named<'a>(
        &'a self,
        operation: &'a OperationManifest,
        name: &'a VariableName,
        variables: &'a Variables,
    ) -> impl Iterator<Item = Resolved> {
        operation.tasks.iter().filter_map(|task| self.resolve(task, variables).remove(name))
    }
}

pub(crate) fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}
