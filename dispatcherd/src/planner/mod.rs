//! From an Operation to its Tasks, or to the reason why there are none.
//!
//! The same functions of the protocol check a request in relayd; what reaches this point and is refused was
//! accepted with another catalog, or asks for what only this backend's operator can allow.

mod playbook;

use std::collections::BTreeMap;

use aegir_attempt::plan::{PLAN_SCHEMA, PlannedTask, RunnerSettings, TaskAction, TaskPlan};
use aegir_catalog::manifest::{RunsOn, TaskManifest};
use aegir_catalog::{Catalog, Role, Subject};
use aegir_protocol::code::Code;
use aegir_protocol::name::{NodeName, RoleName, RunnerName, TaskName, VariableName};
use aegir_protocol::operation::{DoneTask, Host, Operation};
use aegir_protocol::state::Reason;

use crate::config::RunnerConfig;

/// What of this node a plan depends on, beside the catalog.
#[derive(Clone, Debug)]
pub struct PlanningContext {
    /// Who plans.
    pub node: NodeName,
    /// What the runner will need.
    pub settings: RunnerSettings,
    /// Whether programs may run beside dispatcherd.
    pub programs_on_dispatcher: bool,
    /// The plug-in runners that there are.
    pub runners: BTreeMap<RunnerName, RunnerConfig>,
    /// How long a Task may take whose manifest says nothing else.
    pub task_timeout_seconds: u64,
    /// How long it may print nothing; as long as it likes when absent.
    pub task_quiet_seconds: Option<u64>,
}

/// The Tasks of an Operation. Nothing but the paths of playbooks is looked up on the disk.
///
/// # Errors
/// The reason with which the attempt is rejected.
pub fn plan(
    operation: &Operation,
    catalog: &Catalog,
    planning: &PlanningContext,
) -> Result<TaskPlan, Reason> {
    let subject = Subject {
        name: &operation.name,
        target: &operation.target.kind,
        hosts: &operation.hosts,
        variables: &operation.variables,
        priority: operation.priority,
    };
    let problems = catalog.check(&subject);
    if let Some(first) = problems.first() {
        let messages: Vec<_> =
            problems.iter().map(|problem| format!("{}: {}", problem.pointer, problem.message)).collect();
        return Err(Reason { code: first.code.clone(), message: messages.join("; ") });
    }
    let (role, manifest) = catalog
        .find(&operation.name)
        .map_err(|problem| Reason { code: problem.code, message: problem.message })?;
    if let Some(approved) = &operation.approved
        && approved.digest != role.digest
    {
        return Err(Code::PlanChanged.because(format!(
            "role {} has changed since Operation {} planned this: plan it again",
            operation.name.role, approved.operation
        )));
    }
    let numbered = (1..).zip(&manifest.tasks);
    let tasks: Result<Vec<_>, Reason> =
        numbered.map(|(number, name)| task(operation, catalog, role, number, name, planning)).collect();
    let mut tasks = tasks?;
    if let Some(done) = &operation.done
        && done.digest == role.digest
    {
        take_over(&mut tasks, &done.tasks);
    }
    Ok(TaskPlan {
        schema: PLAN_SCHEMA.to_owned(),
        attempt: operation.attempt_id(),
        node: planning.node.clone(),
        tasks,
        settings: planning.settings.clone(),
        // Whoever keeps the plan knows them.
        plugins: None,
    })
}

/// Leaves out the Tasks that earlier attempts have finished, up to the first that they have not.
fn take_over(tasks: &mut [PlannedTask], done: &[DoneTask]) {
    for task in tasks {
        let Some(found) = done.iter().find(|done| done.task == task.number) else { return };
        task.done = Some(found.clone());
    }
}

fn task(
    operation: &Operation,
    catalog: &Catalog,
    role: &Role,
    number: u32,
    name: &TaskName,
    planning: &PlanningContext,
) -> Result<PlannedTask, Reason> {
    let declared = role.manifest.tasks.get(name).ok_or_else(|| {
        Code::UnknownTask.because(format!("role {} has no task {name}", operation.name.role))
    })?;
    let action = action(name, declared, planning)?;
    let beside_dispatcherd = matches!(action, TaskAction::Program { on: RunsOn::Dispatcher, .. });
    let hosts = if beside_dispatcherd { Vec::new() } else { role.hosts_of(name, &operation.hosts) };
    let of_host = |host: &&Host| {
        let own = role.resolve_for(name, &host.name, &operation.variables);
        (!own.is_empty()).then(|| (host.name.clone(), own))
    };
    let variables = role.resolve(name, &operation.variables);
    let absent = declared.variables.iter().filter(|name| !variables.contains_key(*name)).cloned().collect();
    let told = declared.variables.iter().filter(|_| declared.plugin.is_some());
    let declared_as = |name: &VariableName| Some((name.clone(), role.manifest.variables.get(name)?.clone()));
    Ok(PlannedTask {
        number,
        of_hosts: hosts.iter().filter_map(of_host).collect(),
        role: operation.name.role.clone(),
        digest: role.digest.clone(),
        collection: role.collection.clone(),
        name: name.clone(),
        title: declared.title.clone().unwrap_or_else(|| name.to_string()),
        action,
        hosts: hosts.into_iter().map(|host| host.name.clone()).collect(),
        variables,
        absent,
        declared: told.filter_map(declared_as).collect(),
        uses: uses(declared, catalog)?,
        outputs: declared.outputs.clone(),
        may_match_no_host: declared.ansible.as_ref().is_some_and(|ansible| ansible.may_match_no_host),
        leaves_processes: declared.shell.as_ref().is_some_and(|shell| shell.leaves_processes),
        done: None,
        timeout_seconds: declared.timeout_seconds.unwrap_or(planning.task_timeout_seconds),
        quiet_seconds: declared.quiet_seconds.or(planning.task_quiet_seconds),
    })
}

/// The variables of the tasks that this one builds on, by their roles.
fn uses(declared: &TaskManifest, catalog: &Catalog) -> Result<BTreeMap<RoleName, Vec<VariableName>>, Reason> {
    let mut uses = BTreeMap::<_, Vec<_>>::new();
    let mut next = declared.uses.as_ref();
    while let Some(used) = next {
        let role = catalog.roles.get(&used.role);
        let task = role.and_then(|role| role.manifest.tasks.get(&used.task)).ok_or_else(|| {
            Code::RoleInvalid.because(format!("it uses {used}, which this backend does not have any more"))
        })?;
        uses.entry(used.role.clone()).or_default().extend(task.variables.iter().cloned());
        next = task.uses.as_ref();
    }
    Ok(uses)
}

fn action(
    name: &TaskName,
    declared: &TaskManifest,
    planning: &PlanningContext,
) -> Result<TaskAction, Reason> {
    if let Some(plugin) = &declared.plugin {
        let Some(config) = planning.runners.get(&plugin.runner) else {
            return Err(Code::NotAllowed.because(format!(
                "task {name} is for the plug-in runner {0}, which this backend does not have: name its command under \
                 [runners.{0}] in dispatcherd's config if it should",
                plugin.runner
            )));
        };
        let (runner, settings) = (plugin.runner.clone(), plugin.settings.clone());
        return Ok(TaskAction::Plugin { runner, config: config.into(), verb: plugin.verb, settings });
    }
    if let Some(shell) = &declared.shell {
        if shell.on == RunsOn::Dispatcher && !planning.programs_on_dispatcher {
            return Err(Code::NotAllowed.because(format!(
                "task {name} is a program that runs beside dispatcherd, which this backend does not allow: \
                 set programs_on_dispatcher in [allow] of dispatcherd's config if it should"
            )));
        }
        return Ok(TaskAction::Program { argv: shell.argv.clone(), on: shell.on });
    }
    let playbook = declared.ansible.as_ref().and_then(|ansible| ansible.playbook.as_deref());
    match (playbook, declared.task_file(name)) {
        (Some(path), _) => playbook::find(path, &planning.settings.content_roots).map(TaskAction::Playbook),
        (None, Some(file)) => Ok(TaskAction::TaskFile(file)),
        (None, None) => Err(Code::RoleInvalid.because(format!("task {name} names nothing to run"))),
    }
}

#[cfg(test)]
mod tests;
