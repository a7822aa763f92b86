//! Checking an Operation against a catalog.
//!
//! relayd checks a request before it accepts it, dispatcherd checks an Operation before it plans it, and both
//! call the same functions here: what one accepts the other does not reject, as long as the catalog is the
//! same.

use serde_json::Value;

use crate::catalog::{Catalog, Resolved, Role, Subject, list};
use crate::manifest::{LockManifest, OperationManifest, VariableManifest};
use aegir_protocol::code::Code;
use aegir_protocol::limits::{MAX_HOSTS, MAX_PRIORITY};
use aegir_protocol::name::{TargetId, TaskName, VariableName};
use aegir_protocol::operation::{Host, OPERATION_SCOPE, Variables, sealed};
use aegir_protocol::problem::{FieldProblem, pointer_token};

impl Catalog {
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
    pub(crate) fn check_hosts_of(&self, task: &TaskName, hosts: &[Host]) -> Option<FieldProblem> {
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
            let message = format!("Ansible reserves {key:?}: a frontend can't set it");
            return problem(Code::VariableReserved, message);
        }
        let declared =
            name.parse().ok().and_then(|name: VariableName| self.manifest.variables.get_key_value(&name));
        let Some((name, variable)) = declared else {
            let known = list(self.manifest.variables.keys());
            let message = format!("unknown variable {shown:?}. Known: {known}");
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
            let message = format!("variable {name} belongs to each host and can't be a secret");
            return if variable.of_hosts() { problem(Code::SecretInvalid, message) } else { Vec::new() };
        }
        if variable.secret() {
            let message =
                format!("variable {name} is a secret: send it as {{\"secret\": …}}, so that relayd seals it");
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
                    "unknown task {named:?}. Tasks of this operation: {}",
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
