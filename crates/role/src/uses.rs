//! Tasks that build on a task of another role.
//!
//! A task-file imports the one that it builds on; what it needs is said once, in the other role's manifest. Here that is
//! put into the manifest of the role that uses it, so that whoever reads the catalog need not look any further.

use std::collections::{BTreeMap, BTreeSet};

use aegir_protocol::manifest::Manifest;
use aegir_protocol::name::{OperationName, RoleName};

/// Gives each task what those that it builds on have, and says which roles that took, the role itself left out.
///
/// # Errors
/// What can't be used, in sentences.
pub(crate) fn complete(
    name: &RoleName,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Result<(Manifest, BTreeSet<RoleName>), Vec<String>> {
    let mut complete = manifests[name].clone();
    let mut roles = BTreeSet::new();
    let mut wrong = Vec::new();
    let using: Vec<_> = complete
        .tasks
        .iter()
        .filter_map(|(task, declared)| Some((task.clone(), declared.uses.clone()?)))
        .collect();
    for (task, first) in using {
        let mut chain = vec![OperationName { role: name.clone(), action: task.clone() }];
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
    if wrong.is_empty() { Ok((complete, roles)) } else { Err(wrong) }
}

/// Gives `task` what `used` has and it does not say itself; what that one uses comes next.
fn take(
    complete: &mut Manifest,
    task: &OperationName,
    used: &OperationName,
    manifests: &BTreeMap<RoleName, &Manifest>,
) -> Result<Option<OperationName>, String> {
    let other =
        manifests.get(&used.role).ok_or_else(|| format!("and there is no role {} beside it", used.role))?;
    let from = other.tasks.get(&used.action).ok_or_else(|| format!("and {} has no such task", used.role))?;
    if from.task_file(&used.action).is_none() {
        return Err("which is no task-file".to_owned());
    }
    for name in &from.variables {
        if let Some(declared) = other.variables.get(name) {
            complete.variables.entry(name.clone()).or_insert_with(|| declared.clone());
        }
    }
    let Some(into) = complete.tasks.get_mut(&task.action) else { return Ok(None) };
    let missing = from.variables.iter().filter(|name| !into.variables.contains(name)).cloned();
    let missing: Vec<_> = missing.collect();
    into.variables.extend(missing);
    for (name, output) in &from.outputs {
        into.outputs.entry(name.clone()).or_insert_with(|| output.clone());
    }
    into.title = into.title.take().or_else(|| from.title.clone());
    into.service = into.service.take().or_else(|| from.service.clone());
    into.timeout_seconds = into.timeout_seconds.or(from.timeout_seconds);
    into.quiet_seconds = into.quiet_seconds.or(from.quiet_seconds);
    Ok(from.uses.clone())
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
        assert_eq!((task.service.as_ref().unwrap().as_str(), task.timeout_seconds), ("nginx", Some(60)));
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
        assert_eq!(problem("none.run"), "tasks.install: uses none.run, and there is no role none beside it");
        assert_eq!(problem("other.walk"), "tasks.install: uses other.walk, and other has no such task");
        assert_eq!(problem("other.run"), "tasks.install: uses other.run, which is no task-file");
        assert_eq!(problem("other.back"), "tasks.install: shop.install comes back to what uses it");
    }
}
