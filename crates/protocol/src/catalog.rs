//! What a backend can do, and checking an Operation against it.
//!
//! relayd checks a request before it accepts it, dispatcherd checks an Operation before it plans it, and both
//! call the same functions here: what one accepts the other does not reject, as long as the catalog is the
//! same.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::{FieldProblem, pointer_token};
use crate::code::Code;
use crate::limits::{MAX_HOSTS, MAX_PRIORITY};
use crate::manifest::{LockManifest, Manifest, OperationManifest, VariableManifest};
use crate::name::{
    BackendName, HostName, Kind, NodeName, OperationName, RoleName, TargetId, TaskName, VariableName,
};
use crate::operation::{Host, Lock, LockMode, OPERATION_SCOPE, Target, Variables, sealed};

/// What a backend can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Catalog {
    /// Whose.
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
                || format!("it has {}", list(self.roles.keys())),
                |reasons| format!("it was left out: {}", reasons.join("; ")),
            );
            let message = format!("backend {} has no role {}: {why}", self.backend, name.role);
            FieldProblem::new("/name", Code::UnknownRole, message)
        })?;
        let operation = role.manifest.operations.get(&name.action).ok_or_else(|| {
            let has = list(role.manifest.operations.keys());
            let message = format!("role {} has no operation {}: it has {has}", name.role, name.action);
            FieldProblem::new("/name", Code::UnknownOperation, message)
        })?;
        Ok((role, operation))
    }

    /// Everything that is wrong with an Operation, as far as the catalog can tell.
    #[must_use]
    pub fn check(&self, subject: &Subject<'_>) -> Vec<FieldProblem> {
        let (role, operation) = match self.find(subject.name) {
            Ok(found) => found,
            Err(problem) => return vec![problem],
        };
        let mut problems = Vec::new();
        if !role.manifest.targets.contains(subject.target) {
            let kinds = list(&role.manifest.targets);
            let message = format!("{} is for targets of kind {kinds}, not {}", subject.name, subject.target);
            problems.push(FieldProblem::new("/target/kind", Code::TargetKind, message));
        }
        if subject.priority > MAX_PRIORITY {
            let message = format!("{} is more than the highest priority, {MAX_PRIORITY}", subject.priority);
            problems.push(FieldProblem::new("/priority", Code::FieldInvalid, message));
        }
        problems.extend(check_hosts(subject.hosts));
        problems.extend(role.check_variables(operation, subject.hosts, subject.variables));
        for problem in role.check_locks(operation, subject.variables) {
            if !problems.iter().any(|known| known.pointer == problem.pointer) {
                problems.push(problem);
            }
        }
        for task in &operation.tasks {
            problems.extend(role.check_hosts_of(task, subject.hosts));
        }
        problems
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn check_hosts(hosts: &[Host]) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    if hosts.len() > MAX_HOSTS {
        let message =
            format!("{} hosts are more than the {MAX_HOSTS} that one Operation may have", hosts.len());
        problems.push(FieldProblem::new("/hosts", Code::FieldInvalid, message));
    }
    for (index, host) in hosts.iter().enumerate() {
        if hosts[..index].iter().any(|earlier| earlier.name == host.name) {
            let message = format!("host {} is listed twice", host.name);
            problems.push(FieldProblem::new(format!("/hosts/{index}/name"), Code::FieldInvalid, message));
        }
    }
    problems
}

impl Role {
    fn check_hosts_of(&self, task: &TaskName, hosts: &[Host]) -> Option<FieldProblem> {
        let declared = self.manifest.tasks.get(task)?;
        if declared.needs_no_host() || !self.hosts_of(task, hosts).is_empty() {
            return None;
        }
        let service = &declared.service;
        let message = if service.is_empty() {
            format!("task {task} needs at least one host")
        } else {
            format!("task {task} needs a host with the service {service}; none of the hosts offers it")
        };
        Some(FieldProblem::new("/hosts", Code::NoHostForTask, message))
    }

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
    fn named<'a>(
        &'a self,
        operation: &'a OperationManifest,
        name: &'a VariableName,
        variables: &'a Variables,
    ) -> impl Iterator<Item = Resolved> {
        operation.tasks.iter().filter_map(|task| self.resolve(task, variables).remove(name))
    }

    /// A value that is to name what is locked, and can't: without its lock an Operation must not run.
    fn check_locks<'a>(
        &'a self,
        operation: &'a OperationManifest,
        variables: &'a Variables,
    ) -> impl Iterator<Item = FieldProblem> {
        operation.locks.iter().flat_map(move |LockManifest { kind, variable, .. }| {
            self.named(operation, variable, variables).filter_map(move |Resolved { value, from }| {
                let why = match value.as_str().map(str::parse::<TargetId>) {
                    Some(Ok(_)) => return None,
                    Some(Err(error)) => error.to_string(),
                    None => "it is no text that can be read here".to_owned(),
                };
                let pointer = format!("/variables/{}/{variable}", pointer_token(&from));
                let message = format!("variable {variable} names the {kind} to lock: {why}");
                Some(FieldProblem::new(pointer, Code::VariableInvalid, message))
            })
        })
    }

    fn check_variables(
        &self,
        operation: &OperationManifest,
        hosts: &[Host],
        variables: &Variables,
    ) -> Vec<FieldProblem> {
        let mut problems = Vec::new();
        for (scope, values) in variables {
            for (name, value) in values {
                let pointer = format!("/variables/{}/{}", pointer_token(scope), pointer_token(name));
                problems.extend(self.check_value(operation, scope, hosts, name, value, &pointer));
            }
        }
        let mut missing = |task: &TaskName, name: &VariableName, scope: &str| {
            let pointer = format!("/variables/{}/{name}", pointer_token(scope));
            if !problems.iter().any(|problem: &FieldProblem| problem.pointer == pointer) {
                let message =
                    format!("variable {name} is missing: task {task} needs it in the scope {scope}");
                problems.push(FieldProblem::new(pointer, Code::VariableMissing, message));
            }
        };
        for task in &operation.tasks {
            let declared = self.manifest.tasks.get(task).map_or(&[][..], |task| &task.variables);
            let resolved = self.resolve(task, variables);
            for name in declared {
                let Some(variable) =
                    self.manifest.variables.get(name).filter(|variable| !variable.optional())
                else {
                    continue;
                };
                if variable.of_hosts() {
                    for host in self.hosts_of(task, hosts) {
                        if !self.resolve_for(task, &host.name, variables).contains_key(name) {
                            missing(task, name, &format!("hosts.{}", host.name));
                        }
                    }
                } else if !resolved.contains_key(name) {
                    missing(task, name, variable.scope().unwrap_or(OPERATION_SCOPE));
                }
            }
        }
        problems
    }

    fn check_value(
        &self,
        operation: &OperationManifest,
        scope: &str,
        hosts: &[Host],
        name: &str,
        value: &Value,
        pointer: &str,
    ) -> Vec<FieldProblem> {
        let problem = |code, message: String| vec![FieldProblem::new(pointer, code, message)];
        let shown: String = name.chars().take(64).collect();
        if let Some(key) = reserved(name, value) {
            let message =
                format!("{key:?} has a meaning of its own in Ansible and can't be set by a frontend");
            return problem(Code::VariableReserved, message);
        }
        let declared =
            name.parse().ok().and_then(|name: VariableName| self.manifest.variables.get_key_value(&name));
        let Some((name, variable)) = declared else {
            let known = list(self.manifest.variables.keys());
            let message = format!("the role declares no variable {shown:?}: it has {known}");
            return problem(Code::VariableUndeclared, message);
        };
        if !self.scope_fits(scope, hosts, variable) {
            let own = match variable.scope() {
                Some("hosts") => "hosts.NAME, of one of the Operation's hosts",
                own => own.unwrap_or(OPERATION_SCOPE),
            };
            let message =
                format!("variable {name} belongs to the scope {own} (or {OPERATION_SCOPE}, or tasks.NAME)");
            return problem(Code::VariableUndeclared, message);
        }
        if let Some(message) = self.not_taken(operation, scope, name) {
            return problem(Code::VariableUndeclared, message);
        }
        if sealed(value).is_some() {
            let message = format!("variable {name} is of each host, and can't be a secret");
            return if variable.of_hosts() { problem(Code::SecretInvalid, message) } else { Vec::new() };
        }
        if variable.secret() {
            let message =
                format!("variable {name} is a secret: send it as {{\"secret\": …}}, so that it is sealed");
            return problem(Code::SecretInvalid, message);
        }
        let faults = variable.faults(value).into_iter();
        let problem = |(at, what)| {
            let message = format!("variable {name}: {what}");
            FieldProblem::new(format!("{pointer}{at}"), Code::VariableInvalid, message)
        };
        faults.map(problem).collect()
    }

    /// Why a value that is meant for this Operation would be dropped. The scopes of entities are sent whole, whatever an
    /// Operation takes of them; `operation` and `tasks.NAME` are about this one.
    fn not_taken(&self, operation: &OperationManifest, scope: &str, name: &VariableName) -> Option<String> {
        let gets =
            |task: &TaskName| self.manifest.tasks.get(task).is_some_and(|task| task.variables.contains(name));
        let mut tasks = operation.tasks.iter();
        match scope.strip_prefix("tasks.") {
            None if scope != OPERATION_SCOPE || tasks.any(gets) => None,
            None => Some(format!("no task of this operation takes the variable {name}: leave it out")),
            Some(named) => match tasks.find(|task| task.as_str() == named) {
                None => Some(format!(
                    "task {named} is none of this operation's: it has {}",
                    list(&operation.tasks)
                )),
                Some(task) if !gets(task) => {
                    Some(format!("task {task} does not take the variable {name}: leave it out"))
                }
                Some(_) => None,
            },
        }
    }

    fn scope_fits(&self, scope: &str, hosts: &[Host], variable: &VariableManifest) -> bool {
        let task = scope.strip_prefix("tasks.").and_then(|task| task.parse::<TaskName>().ok());
        let own = if variable.of_hosts() {
            let host = scope.strip_prefix("hosts.");
            host.is_some_and(|named| hosts.iter().any(|host| host.name.as_str() == named))
        } else {
            variable.scope() == Some(scope)
        };
        own || scope == OPERATION_SCOPE || task.is_some_and(|task| self.manifest.tasks.contains_key(&task))
    }
}

/// The first key, the variable's own name included, that Ansible would not take for data.
fn reserved<'a>(name: &'a str, value: &'a Value) -> Option<&'a str> {
    if name.starts_with("ansible_") || name.starts_with("__ansible") {
        return Some(name);
    }
    match value {
        Value::Object(object) => object.iter().find_map(|(key, value)| {
            if key.starts_with("__ansible") { Some(key.as_str()) } else { reserved("", value) }
        }),
        Value::Array(items) => items.iter().find_map(|item| reserved("", item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalog() -> Catalog {
        let manifest = json!({
            "schema": "aegir.role/0", "title": "Example", "targets": ["site"],
            "operations": { "print": { "title": "Print", "tasks": ["say"] }, "place": { "title": "Place", "tasks": ["place"] } },
            "tasks": { "place": { "variables": ["rack"] }, "say": { "shell": { "argv": ["/bin/echo", {"variable": "text"}], "where": "dispatcher" },
                                "variables": ["text", "password"] } },
            "variables": {
                "text": { "type": "string", "scope": "site" },
                "password": { "type": "string", "scope": "site", "secret": true, "optional": true },
                "rack": { "type": "integer", "scope": "hosts" },
            },
        });
        let role = Role {
            digest: String::new(),
            collection: None,
            manifest: serde_json::from_value(manifest).unwrap(),
        };
        assert_eq!(role.manifest.check(), Vec::<String>::new());
        Catalog {
            backend: "b".parse().unwrap(),
            node: "n".parse().unwrap(),
            recipient: String::new(),
            digest: String::new(),
            roles: BTreeMap::from([("example".parse().unwrap(), role)]),
            left_out: BTreeMap::new(),
        }
    }

    fn problems(name: &str, kind: &str, variables: Value) -> Vec<(String, String)> {
        let (name, kind) = (name.parse().unwrap(), kind.parse().unwrap());
        let variables: Variables = serde_json::from_value(variables).unwrap();
        let subject = Subject { name: &name, target: &kind, hosts: &[], variables: &variables, priority: 0 };
        catalog().check(&subject).into_iter().map(|problem| (problem.pointer, problem.code)).collect()
    }

    #[track_caller]
    fn check(name: &str, kind: &str, variables: Value, expect: &[(&str, Code)]) {
        let expect: Vec<_> =
            expect.iter().map(|(pointer, code)| ((*pointer).to_owned(), code.as_str().to_owned())).collect();
        assert_eq!(problems(name, kind, variables), expect);
    }

    #[test]
    fn what_fits_has_no_problems() {
        check("example.print", "site", json!({"site": {"text": "x", "password": {"sealed": "…"}}}), &[]);
        check("example.print", "site", json!({"operation": {"text": "{{ lookup('pipe','id') }}"}}), &[]);
    }

    #[test]
    fn each_fault_is_pointed_at() {
        let text = json!({"site": {"text": "x"}});
        check("other.print", "site", text.clone(), &[("/name", Code::UnknownRole)]);
        check("example.other", "site", text.clone(), &[("/name", Code::UnknownOperation)]);
        check("example.print", "host", text, &[("/target/kind", Code::TargetKind)]);
        check("example.print", "site", json!({}), &[("/variables/site/text", Code::VariableMissing)]);
        check(
            "example.print",
            "site",
            json!({"site": {"text": 1}}),
            &[("/variables/site/text", Code::VariableInvalid)],
        );
        check(
            "example.print",
            "site",
            json!({"site": {"text": "x", "a/b": 1}}),
            &[("/variables/site/a~1b", Code::VariableUndeclared)],
        );
        check(
            "example.print",
            "site",
            json!({"site": {"text": "x", "password": "plain"}}),
            &[("/variables/site/password", Code::SecretInvalid)],
        );
        check(
            "example.print",
            "site",
            json!({"site": {"text": "x", "ansible_connection": "local"}}),
            &[("/variables/site/ansible_connection", Code::VariableReserved)],
        );
        check(
            "example.print",
            "site",
            json!({"site": {"text": "x", "password": {"a": {"__ansible_unsafe": "x"}}}}),
            &[("/variables/site/password", Code::VariableReserved)],
        );
    }

    #[test]
    fn each_host_has_its_own() {
        let (catalog, name, kind) = (catalog(), "example.place".parse().unwrap(), "site".parse().unwrap());
        let hosts: Vec<Host> = ["web1", "web2"].map(|host| Host::named(host.parse().unwrap())).into();
        let check = |variables: Value| {
            let variables: Variables = serde_json::from_value(variables).unwrap();
            let subject =
                Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
            let problems: Vec<_> =
                catalog.check(&subject).into_iter().map(|problem| (problem.pointer, problem.code)).collect();
            let role = &catalog.roles[&name.role];
            let racks = hosts.iter().map(|host| {
                let resolved = role.resolve_for(&"place".parse().unwrap(), &host.name, &variables);
                resolved.into_values().map(|resolved| (resolved.value, resolved.from)).next()
            });
            (problems, racks.collect::<Vec<_>>())
        };
        let at = |rack: u32, from: &str| Some((json!(rack), from.to_owned()));
        let (problems, racks) = check(json!({"hosts.web1": {"rack": 1}, "hosts.web2": {"rack": 2}}));
        assert_eq!((problems, racks), (Vec::new(), vec![at(1, "hosts.web1"), at(2, "hosts.web2")]));
        let (problems, racks) = check(json!({"hosts.web1": {"rack": 1}, "operation": {"rack": 3}}));
        assert_eq!((problems, racks), (Vec::new(), vec![at(3, "operation"), at(3, "operation")]));
        let missing = ("/variables/hosts.web2/rack".to_owned(), "variable_missing".to_owned());
        assert_eq!(check(json!({"hosts.web1": {"rack": 1}})).0, [missing]);
        let other = ("/variables/hosts.web3/rack".to_owned(), "variable_undeclared".to_owned());
        assert_eq!(check(json!({"hosts.web3": {"rack": 1}})).0[0], other);
        assert_eq!(check(json!({"hosts": {"rack": 1}})).0[0].1, "variable_undeclared");
    }

    #[test]
    fn the_most_specific_scope_wins() {
        let of = |scope: &str| json!({ "type": "string", "scope": scope, "default": "x" });
        let catalog = catalog_of(json!({
            "schema": "aegir.role/0", "title": "R", "targets": ["site"],
            "operations": { "o": { "title": "O", "tasks": ["t"] } },
            "tasks": { "t": { "variables": ["a", "b", "c", "d", "e", "f"] } },
            "variables": {
                "a": of("platform"), "b": of("services.nginx"), "c": of("bundle"), "d": of("site"), "e": of("site"), "f": of("site"),
            },
        }));
        let variables: Variables = serde_json::from_value(json!({
            "platform": {"a": ""}, "services.nginx": {"b": ""}, "bundle": {}, "site": {"d": "", "e": "", "f": ""},
            "operation": {"e": "", "f": ""}, "tasks.t": {"f": ""},
        }))
        .unwrap();
        let (name, kind) = ("r.o".parse().unwrap(), "site".parse().unwrap());
        let subject = Subject { name: &name, target: &kind, hosts: &[], variables: &variables, priority: 0 };
        // The Task is for hosts, and there are none.
        assert_eq!(catalog.check(&subject).len(), 1);
        let resolved = catalog.roles[&name.role].resolve(&"t".parse().unwrap(), &variables);
        let from: Vec<_> = resolved.values().map(|resolved| resolved.from.as_str()).collect();
        assert_eq!(from, ["platform", "services.nginx", "default", "site", "operation", "tasks.t"]);
    }

    /// A catalog of one role, `r`.
    fn catalog_of(manifest: Value) -> Catalog {
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        assert_eq!(manifest.check(), Vec::<String>::new());
        let role = Role { digest: String::new(), collection: None, manifest };
        Catalog { roles: BTreeMap::from([("r".parse().unwrap(), role)]), ..catalog() }
    }

    /// What an application does with sites and platforms.
    fn locking() -> Catalog {
        let platform = json!({"kind": "platform", "variable": "platform", "mode": "shared"});
        catalog_of(json!({
            "schema": "aegir.role/0", "title": "T", "targets": ["site", "platform"],
            "operations": {
                "deploy": {"title": "Deploy", "tasks": ["deploy"], "locks": [platform]},
                "clone": {"title": "Clone", "tasks": ["look", "clone", "again"],
                          "locks": [{"kind": "site", "variable": "from", "mode": "exclusive"}, platform]},
                "delete": {"title": "Delete", "tasks": ["look"]},
            },
            "tasks": {"look": {}, "deploy": {"variables": ["platform"]}, "again": {"variables": ["from"]},
                      "clone": {"variables": ["from", "platform"]}},
            "variables": {"platform": {"type": "string", "scope": "site"}, "from": {"type": "string", "scope": "site"}},
        }))
    }

    #[test]
    fn an_operation_locks_what_its_manifest_names() {
        let catalog = locking();
        let check = |action: &str, target: (&str, &str), variables: Value, expect: &[&str]| {
            let name: OperationName = format!("r.{action}").parse().unwrap();
            let (role, operation) = catalog.find(&name).unwrap();
            let variables: Variables = serde_json::from_value(variables).unwrap();
            let (kind, id): (Kind, TargetId) = (target.0.parse().unwrap(), target.1.parse().unwrap());
            let hosts = [Host::named("web1".parse().unwrap())];
            let subject =
                Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
            assert_eq!(catalog.check(&subject), []);
            let target = Target { name: target.1.parse().unwrap(), kind, id };
            let locks = role.locks(operation, &target, &hosts, &variables, &[]);
            let locks = locks.iter().map(|lock| {
                let mode = if lock.mode == LockMode::Exclusive { "exclusive" } else { "shared" };
                format!("{} {} {mode}", lock.kind, lock.id)
            });
            assert_eq!(locks.collect::<Vec<_>>(), expect, "{action}");
        };
        let of = |values: Value| json!({ "site": values });
        let host = "host web1 shared";
        let platform = "platform p1 shared";
        check(
            "deploy",
            ("site", "s1"),
            of(json!({"platform": "p1"})),
            &[host, platform, "site s1 exclusive"],
        );
        check("delete", ("platform", "p1"), json!({}), &[host, "platform p1 exclusive"]);
        let both = of(json!({"platform": "p1", "from": "s2"}));
        check("clone", ("site", "s1"), both, &[host, platform, "site s1 exclusive", "site s2 exclusive"]);
        let itself = of(json!({"platform": "p1", "from": "s1"}));
        check("clone", ("site", "s1"), itself, &[host, platform, "site s1 exclusive"]);
        let apart = json!({"site": {"platform": "p1", "from": "s2"}, "tasks.again": {"from": "s3"}});
        let all = [host, platform, "site s1 exclusive", "site s2 exclusive", "site s3 exclusive"];
        check("clone", ("site", "s1"), apart, &all);
    }

    #[test]
    fn what_names_nothing_to_lock_is_refused() {
        let (catalog, kind) = (locking(), "site".parse().unwrap());
        let hosts = [Host::named("web1".parse().unwrap())];
        let name = "r.deploy".parse().unwrap();
        let check = |variables: Value, pointer: &str| {
            let variables: Variables = serde_json::from_value(variables).unwrap();
            let subject =
                Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
            let problems = catalog.check(&subject);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(
                (problems[0].pointer.as_str(), problems[0].code.as_str()),
                (pointer, "variable_invalid")
            );
        };
        check(json!({"site": {"platform": "a platform"}}), "/variables/site/platform");
        check(json!({"site": {"platform": "../p1"}}), "/variables/site/platform");
        check(json!({"operation": {"platform": {"sealed": "…"}}}), "/variables/operation/platform");
        check(json!({"site": {"platform": 1}}), "/variables/site/platform");
    }

    #[test]
    fn a_task_is_for_the_hosts_that_offer_its_service() {
        let catalog = catalog_of(json!({
            "schema": "aegir.role/0", "title": "T", "targets": ["site"],
            "operations": {"all": {"title": "All", "tasks": ["web"]}, "beside": {"title": "Beside", "tasks": ["beside", "cloud"]}},
            "tasks": {
                "any": {}, "web": {"service": ["nginx", "apache"]}, "database": {"service": "mariadb"},
                "beside": {"shell": {"argv": ["/bin/true"], "where": "dispatcher"}},
                "cloud": {"plugin": {"runner": "note"}},
                "near": {"plugin": {"runner": "note"}, "service": "mariadb"},
            },
        }));
        let role = &catalog.roles[&"r".parse().unwrap()];
        let host = |(name, services): (&str, &[&str])| Host {
            services: services.iter().map(|name| (name.parse().unwrap(), BTreeMap::new())).collect(),
            ..Host::named(name.parse().unwrap())
        };
        let check = |task: &str, hosts: &[(&str, &[&str])], expect: Result<&[&str], &str>| {
            let hosts: Vec<_> = hosts.iter().copied().map(host).collect();
            let task = task.parse().unwrap();
            let of: Vec<_> = role.hosts_of(&task, &hosts).iter().map(|host| host.name.as_str()).collect();
            let problem = role.check_hosts_of(&task, &hosts);
            match (expect, problem) {
                (Ok(expect), None) => assert_eq!(of, expect, "{task}"),
                (Err(part), Some(problem)) => {
                    assert_eq!(
                        (problem.pointer.as_str(), problem.code.as_str()),
                        ("/hosts", "no_host_for_task")
                    );
                    assert!(problem.message.contains(part), "{}", problem.message);
                }
                (expect, problem) => panic!("{task}: {problem:?}, not {expect:?}"),
            }
        };
        let (web1, web2): ((_, &[_]), (_, &[_])) =
            (("web1", &["nginx", "php-fpm"]), ("web2", &["apache", "ssh"]));
        let (db, bare): ((_, &[_]), (_, &[_])) = (("db", &["mariadb"]), ("bare", &[]));
        check("any", &[web1, db, bare], Ok(&["web1", "db", "bare"]));
        check("any", &[], Err("needs at least one host"));
        check("web", &[web1, db, web2, bare], Ok(&["web1", "web2"]));
        check("web", &[db, bare], Err("the service nginx or apache"));
        check("database", &[web1, db], Ok(&["db"]));
        check("database", &[web1], Err("the service mariadb"));
        check("near", &[], Err("the service mariadb"));
        check("near", &[web1, db], Ok(&["db"]));
        for task in ["beside", "cloud"] {
            check(task, &[], Ok(&[]));
        }
        // One is written as it was, for those who read catalogs and know no lists.
        assert_eq!(json!(role.manifest.tasks[&"database".parse().unwrap()])["service"], "mariadb");
        assert_eq!(
            json!(role.manifest.tasks[&"web".parse().unwrap()])["service"],
            json!(["nginx", "apache"])
        );
        for wrong in [json!([]), json!(3), json!(["-x"])] {
            assert!(serde_json::from_value::<crate::manifest::Services>(wrong).is_err());
        }
    }

    #[test]
    fn each_fault_within_a_value_is_pointed_at() {
        let catalog = catalog_of(json!({
            "schema": "aegir.role/0", "title": "T", "targets": ["site"],
            "operations": {"run": {"title": "Run", "tasks": ["run"]}},
            "tasks": {"run": {"variables": ["pool", "names"]}},
            "variables": {
                "pool": {"type": "object", "scope": "site", "required": ["size"], "additionalProperties": false,
                         "properties": {"size": {"type": "integer", "minimum": 1}, "a/b": {"type": "string"}}},
                "names": {"type": "array", "items": {"type": "string"}, "scope": "site", "default": []},
            },
        }));
        let (name, kind) = ("r.run".parse().unwrap(), "site".parse().unwrap());
        let hosts = [Host::named("web1".parse().unwrap())];
        let check = |variables: Value, expect: &[(&str, &str)]| {
            let variables: Variables = serde_json::from_value(variables).unwrap();
            let subject =
                Subject { name: &name, target: &kind, hosts: &hosts, variables: &variables, priority: 0 };
            let problems = catalog.check(&subject);
            assert_eq!(problems.len(), expect.len(), "{problems:?}");
            for (pointer, part) in expect {
                let found = problems.iter().any(|problem| {
                    problem.pointer == *pointer
                        && problem.code == "variable_invalid"
                        && problem.message.contains(part)
                });
                assert!(found, "{pointer}: {part} is not in {problems:?}");
            }
        };
        check(json!({"site": {"pool": {"size": 3}}}), &[]);
        check(
            json!({"site": {"pool": {"size": 0, "a/b": 1}, "names": ["x", 2, 3]}}),
            &[
                ("/variables/site/pool/size", "less than the minimum of 1"),
                ("/variables/site/pool/a~1b", "not of type \"string\""),
                ("/variables/site/names/1", "not of type \"string\""),
                ("/variables/site/names/2", "not of type \"string\""),
            ],
        );
        let pool = "/variables/site/pool";
        check(
            json!({"site": {"pool": {"sise": 1}}}),
            &[(pool, "\"size\" is a required"), (pool, "'sise' was unexpected")],
        );
    }

    #[test]
    fn what_is_meant_for_this_operation_and_taken_by_nothing_is_refused() {
        let text = |scope: &str| json!({"site": {"text": "x"}, scope: {"rack": 1}});
        let undeclared = |pointer| [(pointer, Code::VariableUndeclared)];
        // Frontends send whole entities, whatever an operation takes of them.
        let whole = json!({"site": {"text": "x"}});
        assert_eq!(problems("example.place", "site", whole), problems("example.place", "site", json!({})));
        check("example.print", "site", text("operation"), &undeclared("/variables/operation/rack"));
        check("example.print", "site", text("tasks.place"), &undeclared("/variables/tasks.place/rack"));
        check("example.print", "site", text("tasks.say"), &undeclared("/variables/tasks.say/rack"));
        check("example.print", "site", text("tasks.none"), &undeclared("/variables/tasks.none/rack"));
        check("example.print", "site", json!({"tasks.say": {"text": "x"}, "operation": {"text": "y"}}), &[]);
    }
}
