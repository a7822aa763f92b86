//! What every role must be before Ansible ever sees it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegir_protocol::manifest::Manifest;

fn roles() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles")
}

pub(crate) fn manifest(role: &Path) -> Manifest {
    let path = role.join("meta/aegir.yml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn each_role(check: impl Fn(&str, &Path, &Manifest)) {
    let mut count = 0;
    for entry in std::fs::read_dir(roles()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        check(name, &path, &manifest(&path));
        count += 1;
    }
    assert!(count >= 3, "only {count} roles were found");
}

#[test]
fn every_manifest_is_in_order() {
    each_role(|name, _, manifest| assert_eq!(manifest.check(), Vec::<String>::new(), "role {name}"));
}

#[test]
fn every_task_has_its_file() {
    each_role(|name, path, manifest| {
        for (task, declared) in &manifest.tasks {
            let Some(file) = declared.task_file(task) else { continue };
            assert!(path.join("tasks").join(&file).is_file(), "role {name} has no tasks/{file}");
        }
    });
}

#[test]
fn every_variable_that_a_role_uses_is_declared_and_every_declared_one_is_used() {
    each_role(|name, path, manifest| {
        let text = text_below(path);
        let plugged = plugged(name, manifest);
        for variable in manifest.variables.keys() {
            let used = text.contains(&format!("{name}_{variable}")) || plugged.contains(variable.as_str());
            assert!(used, "role {name} does not use {variable}");
        }
        // Two underscores are the role's own.
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            let Some(variable) = word.strip_prefix(&format!("{name}_")) else { continue };
            let module = path.join("library").join(format!("{word}.py")).exists();
            let own = variable.starts_with('_') || module;
            let declared = variable.parse().is_ok_and(|name| manifest.variables.contains_key(&name));
            assert!(own || declared, "role {name} uses {word}, which its manifest does not declare");
        }
    });
}

/// The variables that a role's manifest gives to plug-ins, `{variable: NAME}` under `with`: each must be one of the Task's, for
/// a plug-in can't tell a wrong name from an optional variable that is not there.
fn plugged(name: &str, manifest: &Manifest) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (task, declared) in &manifest.tasks {
        let Some(plugin) = &declared.plugin else { continue };
        let mut found = BTreeSet::new();
        named(&serde_json::json!(plugin.settings), &mut found);
        for variable in &found {
            let its = declared.variables.iter().any(|its| its.as_str() == variable);
            assert!(its, "role {name}: the Task {task} does not get the variable {variable}");
        }
        all.extend(found);
    }
    all
}

fn named(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            found.extend(members.get("variable").and_then(|name| name.as_str()).map(str::to_owned));
            members.values().for_each(|value| named(value, found));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        _ => {}
    }
}

#[test]
fn only_builtin_modules_and_the_role_s_own_are_used() {
    each_role(|name, path, _| {
        let tasks = path.join("tasks");
        let Ok(files) = std::fs::read_dir(&tasks) else { return };
        for file in files {
            let file = file.unwrap().path();
            let tasks: serde_json::Value =
                yaml_serde::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            check_modules(name, path, &tasks);
        }
    });
}

fn check_modules(name: &str, role: &Path, tasks: &serde_json::Value) {
    const KEYWORDS: [&str; 16] = [
        "name",
        "register",
        "when",
        "become",
        "vars",
        "loop",
        "changed_when",
        "failed_when",
        "check_mode",
        "environment",
        "delegate_to",
        "run_once",
        "block",
        "rescue",
        "always",
        "no_log",
    ];
    for task in tasks.as_array().into_iter().flatten() {
        for (key, value) in task.as_object().unwrap() {
            if matches!(key.as_str(), "block" | "rescue" | "always") {
                check_modules(name, role, value);
            }
            let known = KEYWORDS.contains(&key.as_str())
                || key.starts_with("ansible.builtin.")
                || role.join("library").join(format!("{key}.py")).exists();
            assert!(known, "role {name} uses {key}: only ansible.builtin and its own modules are allowed");
        }
    }
}

/// All of a role's YAML, templates included and its manifest excluded.
fn text_below(path: &Path) -> String {
    ["tasks", "templates", "vars", "defaults"]
        .iter()
        .filter_map(|part| std::fs::read_dir(path.join(part)).ok())
        .flatten()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}
