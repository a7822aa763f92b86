//! What every role must be before Ansible ever sees it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegir_catalog::manifest::Manifest;

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

/// The roles that its tasks build on, itself included.
fn with_used(name: &str, manifest: &Manifest) -> BTreeSet<String> {
    let mut all = BTreeSet::from([name.to_owned()]);
    for used in manifest.tasks.values().filter_map(|task| task.uses.as_ref()) {
        let role = used.role.as_str();
        all.extend(with_used(role, &self::manifest(&roles().join(role))));
    }
    all
}

#[test]
fn every_role_is_in_order() {
    each_role(|name, path, _| assert_eq!(aegir_role::check(path, &[]), Vec::<String>::new(), "role {name}"));
}

#[test]
fn every_variable_that_a_role_declares_is_used() {
    each_role(|name, _, manifest| {
        let plugged = plugged(name, manifest);
        let texts: Vec<_> = with_used(name, manifest)
            .into_iter()
            .map(|role| (text_below(&roles().join(&role)), role))
            .collect();
        for variable in manifest.variables.keys() {
            let used = plugged.contains(variable.as_str())
                || texts.iter().any(|(text, role)| text.contains(&format!("{role}_{variable}")));
            assert!(used, "role {name} does not use {variable}");
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
    each_role(|name, path, manifest| {
        let used = with_used(name, manifest).into_iter().map(|role| roles().join(role).join("library"));
        let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dispatcherd/ansible/modules");
        let modules: BTreeSet<_> = used.chain([ours]).flat_map(|directory| modules_in(&directory)).collect();
        let Ok(files) = std::fs::read_dir(path.join("tasks")) else { return };
        for file in files {
            let file = file.unwrap().path();
            let tasks: serde_json::Value =
                yaml_serde::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            check_modules(name, &modules, &tasks);
        }
    });
}

fn modules_in(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|file| file.path());
    files.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect()
}

fn check_modules(name: &str, modules: &BTreeSet<String>, tasks: &serde_json::Value) {
    const KEYWORDS: [&str; 18] = [
        "throttle",
        "name",
        "register",
        "when",
        "become",
        "vars",
        "loop",
        "loop_control",
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
                check_modules(name, modules, value);
            }
            let known = KEYWORDS.contains(&key.as_str())
                || key.starts_with("ansible.builtin.")
                || modules.contains(key);
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
