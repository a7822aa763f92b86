//! Tasks and operations that build on one of another role.
//!
//! A task-file imports the one that it builds on; what it needs is said once, in the other role's manifest, and so is what
//! an operation is. Here that is put into the manifest of the role that uses it, so that whoever reads the catalog need not
//! look any further.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::{Manifest, OperationManifest, TaskManifest};
use aegir_protocol::name::{ActionName, OperationName, RoleName, RoleTask, TaskName};

/// Gives each operation and task what those that it builds on have, and says which roles that took, the role itself left
/// out.
///
/// # Errors
/// What can't be used, in sentences.
pub fn complete(
    name: &RoleName,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Result<(Manifest, BTreeSet<RoleName>), Vec<String>> {
    let mut complete = manifests[name].clone();
    let mut roles = BTreeSet::new();
    let mut wrong = Vec::new();
    // Those of operations that are used, and where each is first declared.
    let mut tasks = BTreeMap::new();
    for (operation, declared) in &mut complete.operations {
        match follow(operation, declared, name, manifests) {
            Ok(followed) => {
                for used in followed.iter().rev() {
                    let said = |task: &&TaskName| manifests[&used.role].tasks.contains_key(*task);
                    for task in declared.tasks.iter().filter(said) {
                        tasks.insert(task.clone(), RoleTask { role: used.role.clone(), task: task.clone() });
                    }
                    roles.insert(used.role.clone());
                }
            }
            Err(problem) => wrong.push(format!("operations.{operation}: {problem}")),
        }
    }
    for (task, used) in tasks {
        let implied = || TaskManifest { uses: Some(used), ..TaskManifest::default() };
        complete.tasks.entry(task).or_insert_with(implied);
    }
    let using: Vec<_> = complete
        .tasks
        .iter()
        .filter_map(|(task, declared)| Some((task.clone(), declared.uses.clone()?)))
        .collect();
    for (task, first) in using {
        let mut chain = vec![RoleTask { role: name.clone(), task: task.clone() }];
        let mut next = Some(first);
        while let Some(used) = next {
            if chain.contains(&used) {
                wrong.push(format!("tasks.{task}: {used} comes back to what uses it"));
                break;
            }
            match take(&mut complete, &chain[0], &used, manifests) {
                Ok(further) => next = further,
                Err(problem) => {
                    wrong.push(format!("tasks.{task}: uses {used}, {problem}"));
                    break;
                }
            }
            roles.insert(used.role.clone());
            chain.push(used);
        }
    }
    roles.remove(name);
    wrong.extend(said_twice(name, &complete, manifests));
    if wrong.is_empty() { Ok((complete, roles)) } else { Err(wrong) }
}

/// Gives an operation what those have that it builds on, and says which these are, the nearest first.
fn follow(
    operation: &ActionName,
    into: &mut OperationManifest,
    name: &RoleName,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Result<Vec<OperationName>, String> {
    let mut chain = vec![OperationName { role: name.clone(), action: operation.clone() }];
    let mut next = into.uses.clone();
    while let Some(used) = next {
        if chain.contains(&used) {
            return Err(format!("{used} comes back to what uses it"));
        }
        let other = manifests.get(&used.role);
        let from = other.and_then(|other| other.operations.get(&used.action)).ok_or_else(|| {
            format!("uses {used}, and there is no such operation of a role beside it that can be read")
        })?;
        if into.title.is_empty() {
            into.title.clone_from(&from.title);
        }
        if into.tasks.is_empty() {
            into.tasks.clone_from(&from.tasks);
        }
        into.summary = into.summary.take().or_else(|| from.summary.clone());
        into.confirm = into.confirm.take().or_else(|| from.confirm.clone());
        into.dangerous |= from.dangerous;
        let missing: Vec<_> = from.locks.iter().filter(|lock| !into.locks.contains(lock)).cloned().collect();
        into.locks.extend(missing);
        // How it is tried again is one thing.
        if into.retry.is_none() {
            (into.retry, into.lease_seconds, into.retries) =
                (from.retry, into.lease_seconds.or(from.lease_seconds), into.retries.or(from.retries));
        }
        next = from.uses.clone();
        chain.push(used);
    }
    chain.remove(0);
    Ok(chain)
}

/// Gives `task` what `used` has and it does not say itself; what that one uses comes next.
fn take(
    complete: &mut Manifest,
    task: &RoleTask,
    used: &RoleTask,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Result<Option<RoleTask>, String> {
    let other = manifests
        .get(&used.role)
        .ok_or_else(|| format!("and there is no role {} beside it that can be read", used.role))?;
    let from = other.tasks.get(&used.task).ok_or_else(|| format!("and {} has no such task", used.role))?;
    if from.task_file(&used.task).is_none() {
        return Err("which is no task-file".to_owned());
    }
    for name in &from.variables {
        let Some(declared) = other.variables.get(name) else { continue };
        let own = complete.variables.entry(name.clone()).or_insert_with(|| declared.clone());
        if declared.secret() && !own.secret() {
            return Err(format!("where {name} is a secret, and here it is none"));
        }
        let settled = manifests.get(&task.role).is_some_and(|role| role.variables.contains_key(name));
        if own != declared && !settled {
            return Err(format!(
                "whose {name} is another one than that of a task used before: declare it here"
            ));
        }
    }
    let Some(into) = complete.tasks.get_mut(&task.task) else { return Ok(None) };
    let missing = from.variables.iter().filter(|name| !into.variables.contains(name)).cloned();
    let missing: Vec<_> = missing.collect();
    into.variables.extend(missing);
    for (name, output) in &from.outputs {
        into.outputs.entry(name.clone()).or_insert_with(|| output.clone());
    }
    into.title = into.title.take().or_else(|| from.title.clone());
    if into.service.is_empty() {
        into.service = from.service.clone();
    }
    into.timeout_seconds = into.timeout_seconds.or(from.timeout_seconds);
    into.quiet_seconds = into.quiet_seconds.or(from.quiet_seconds);
    Ok(from.uses.clone())
}

/// A word that would be the name of two variables: role `php` with `site_root`, and `php_site` with `root`.
fn said_twice(
    name: &RoleName,
    complete: &Manifest,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Option<String> {
    complete.tasks.iter().find_map(|(task, declared)| {
        let mut chain = vec![(name, declared.variables.as_slice())];
        let mut next = declared.uses.as_ref();
        while let Some(used) = next.filter(|_| chain.len() <= manifests.len()) {
            let from = manifests.get(&used.role)?.tasks.get(&used.task)?;
            chain.push((&used.role, from.variables.as_slice()));
            next = from.uses.as_ref();
        }
        let mut of = BTreeMap::new();
        let mut all = chain.into_iter().flat_map(|(role, names)| names.iter().map(move |name| (role, name)));
        // One role may come twice, which is the same variable.
        let twice = all.find(|(role, name)| {
            of.insert(format!("{role}_{name}"), *role).is_some_and(|other| other != *role)
        });
        twice.map(|(role, name)| {
            format!("tasks.{task}: {role}_{name} would be two variables: rename one of them")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn manifest(tasks: Value, variables: Value) -> Manifest {
        let manifest = json!({
            "schema": "aegir.role/0", "title": "T", "targets": ["site"], "operations": {}, "tasks": tasks,
            "variables": variables,
        });
        serde_json::from_value(manifest).unwrap()
    }

    fn completed(roles: &[(&str, Manifest)]) -> Result<(Manifest, BTreeSet<RoleName>), Vec<String>> {
        let manifests = roles.iter().map(|(name, manifest)| (name.parse().unwrap(), manifest)).collect();
        complete(&roles[0].0.parse().unwrap(), &manifests)
    }

    #[test]
    fn a_task_gets_what_the_one_has_that_it_builds_on() {
        let (whole, roles) = completed(&[
            (
                "drupal",
                manifest(
                    json!({"install": {"uses": "php_site.install", "variables": ["profile"]}}),
                    json!({"profile": {"scope": "site"}, "root": {"scope": "site", "default": "web"}}),
                ),
            ),
            (
                "php_site",
                manifest(
                    json!({"install": {"uses": "codebase.fetch", "variables": ["root"], "service": "nginx",
                                       "outputs": {"instance": {"type": "object"}}}}),
                    json!({"root": {"scope": "site", "default": "."}, "other": {"scope": "site"}}),
                ),
            ),
            (
                "codebase",
                manifest(
                    json!({"fetch": {"variables": ["source"], "timeout_seconds": 60, "service": "ssh"}}),
                    json!({"source": {"scope": "platform"}}),
                ),
            ),
        ])
        .unwrap();
        let task = &whole.tasks[&"install".parse().unwrap()];
        assert_eq!(
            task.variables.iter().map(|name| name.as_str()).collect::<Vec<_>>(),
            ["profile", "root", "source"]
        );
        assert_eq!((task.service.to_string(), task.timeout_seconds), ("nginx".to_owned(), Some(60)));
        assert_eq!(task.outputs.len(), 1);
        // What the role says itself stays, and what the task does not need does not come.
        assert_eq!(whole.variables[&"root".parse().unwrap()].default(), Some(&json!("web")));
        assert_eq!(whole.variables.len(), 3);
        assert_eq!(roles.iter().map(RoleName::as_str).collect::<Vec<_>>(), ["codebase", "php_site"]);
    }

    #[test]
    fn what_cant_be_used_is_said() {
        let using = |what: &str| manifest(json!({"install": {"uses": what}}), json!({}));
        let other = manifest(
            json!({"run": {"shell": {"argv": ["/bin/true"]}}, "back": {"uses": "shop.install"}}),
            json!({}),
        );
        let problem = |what: &str| {
            completed(&[("shop", using(what)), ("other", other.clone())]).unwrap_err().join("; ")
        };
        assert_eq!(
            problem("none.run"),
            "tasks.install: uses none.run, and there is no role none beside it that can be read"
        );
        assert_eq!(problem("other.walk"), "tasks.install: uses other.walk, and other has no such task");
        assert_eq!(problem("other.run"), "tasks.install: uses other.run, which is no task-file");
        let secret = |flag: bool| json!({"password": {"type": "string", "scope": "site", "secret": flag}});
        let open = manifest(json!({"install": {"uses": "base.install"}}), secret(false));
        let base = manifest(json!({"install": {"variables": ["password"]}}), secret(true));
        let problem_of = |roles: &[(&str, Manifest)]| completed(roles).unwrap_err().join("; ");
        let said = problem_of(&[("shop", open), ("base", base)]);
        assert_eq!(said, "tasks.install: uses base.install, where password is a secret, and here it is none");
        let version = |default: &str| json!({"version": {"scope": "site", "default": default}});
        let task = |name: &str| json!({name: {"variables": ["version"]}});
        let both = json!({"a": {"uses": "one.a"}, "b": {"uses": "two.b"}});
        let (one, two) = (manifest(task("a"), version("1")), manifest(task("b"), version("2")));
        let roles =
            |own: Value| [("shop", manifest(both.clone(), own)), ("one", one.clone()), ("two", two.clone())];
        assert!(problem_of(&roles(json!({}))).contains("whose version is another one"));
        assert!(completed(&roles(version("3"))).is_ok());
        let php = manifest(
            json!({"install": {"uses": "php_site.install", "variables": ["site_root"]}}),
            json!({"site_root": {"scope": "site"}}),
        );
        let site = manifest(json!({"install": {"variables": ["root"]}}), json!({"root": {"scope": "site"}}));
        assert!(
            problem_of(&[("php", php), ("php_site", site)]).contains("php_site_root would be two variables")
        );
        assert_eq!(problem("other.back"), "tasks.install: shop.install comes back to what uses it");
    }

    fn with_operations(operations: Value, tasks: Value) -> Manifest {
        Manifest {
            operations: serde_json::from_value(operations).unwrap(),
            ..manifest(tasks, json!({"platform": {"type": "string", "scope": "site"}}))
        }
    }

    #[test]
    fn an_operation_is_what_the_one_is_that_it_uses() {
        let platform = json!({"kind": "platform", "variable": "platform", "mode": "shared"});
        let other = json!({"kind": "host", "variable": "platform", "mode": "shared"});
        let base = with_operations(
            json!({
                "install": {"title": "Install", "summary": "Makes it.", "tasks": ["check", "install"], "locks": [platform],
                            "retry": "safe", "retries": {"attempts": 3}, "dangerous": true, "confirm": "Go on?"},
                "look": {"title": "Look", "tasks": ["check"], "retry": "safe", "lease_seconds": 5},
            }),
            json!({"check": {"title": "Check", "variables": ["platform"]}, "install": {"variables": ["platform"]}}),
        );
        let middle = with_operations(
            json!({"install": {"uses": "base.install", "locks": [other]}, "look": {"uses": "base.look", "retry": "never"}}),
            json!({"install": {"title": "Install it", "uses": "base.install", "ansible": {"task_file": "site.yml"}}}),
        );
        let top = with_operations(
            json!({"install": {"uses": "middle.install", "summary": "Makes a shop."}, "look": {"uses": "middle.look"}}),
            json!({}),
        );
        let (whole, roles) = completed(&[("top", top), ("middle", middle), ("base", base)]).unwrap();
        let of = |name: &str| json!(whole.operations[&name.parse().unwrap()]);
        assert_eq!(
            of("install"),
            json!({
                "uses": "middle.install", "title": "Install", "summary": "Makes a shop.", "tasks": ["check", "install"],
                "locks": [other, platform], "retry": "safe", "retries": {"attempts": 3, "backoff_seconds": 60},
                "dangerous": true, "confirm": "Go on?",
            })
        );
        // Who says that it is not to be tried again means that.
        assert_eq!(
            (of("look")["retry"].clone(), of("look")["lease_seconds"].clone()),
            (json!("never"), Value::Null)
        );
        let uses = |task: &str| whole.tasks[&task.parse().unwrap()].uses.as_ref().unwrap().to_string();
        // Each is that of the nearest role that has one.
        assert_eq!((uses("check"), uses("install")), ("base.check".to_owned(), "middle.install".to_owned()));
        assert_eq!(whole.tasks[&"check".parse().unwrap()].variables.len(), 1);
        assert_eq!(whole.tasks[&"install".parse().unwrap()].title.as_deref(), Some("Install it"));
        assert_eq!(roles.iter().map(RoleName::as_str).collect::<Vec<_>>(), ["base", "middle"]);
        assert_eq!(whole.check(), Vec::<String>::new());
    }

    #[test]
    fn an_operation_that_cant_be_used_is_said() {
        let using = |what: &str| with_operations(json!({"run": {"uses": what}}), json!({}));
        let problem = |roles: &[(&str, Manifest)]| completed(roles).unwrap_err().join("; ");
        for what in ["none.run", "base.walk"] {
            let said = problem(&[("top", using(what)), ("base", using("top.run"))]);
            assert!(
                said.starts_with(&format!("operations.run: uses {what}, and there is no such")),
                "{said}"
            );
        }
        let round = problem(&[("top", using("base.run")), ("base", using("top.run"))]);
        assert_eq!(round, "operations.run: top.run comes back to what uses it");
    }
}
