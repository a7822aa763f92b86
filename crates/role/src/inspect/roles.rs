//! Roles that a role's files name, and that an attempt does not have: it keeps the role, and those that its tasks use.

use std::path::Path;

use aegir_protocol::name::RoleName;
use yaml_serde::Value;

use super::inspected_role::InspectedRole;
use super::steps::YamlStep;

/// Arguments that name a file of the role, and the directory that it is in.
const FROM: [(&str, &str); 4] = [
    ("tasks_from", "tasks"),
    ("vars_from", "vars"),
    ("defaults_from", "defaults"),
    ("handlers_from", "handlers"),
];

/// What is not there, in sentences.
pub(super) fn check(subject: InspectedRole<'_>, steps: &[YamlStep]) -> Vec<String> {
    let mut wrong = Vec::new();
    for step in steps {
        for (key, value) in &step.keys {
            if key != "import_role" && key != "include_role" {
                continue;
            }
            let Some(name) = argument(value, "name").or_else(|| argument(value, "role")) else { continue };
            wrong.extend(missing(subject, &name).map(|why| format!("{}: {key} {why}", step.place())));
            if name == subject.name.as_str() {
                let missing = FROM.iter().filter_map(|(from, directory)| {
                    let file = argument(value, from).filter(|file| !file.contains("{{"))?;
                    (!is_there(&subject.path.join(directory), &file)).then(|| {
                        format!("{}: {key} names {directory}/{file}, which is not there", step.place())
                    })
                });
                wrong.extend(missing);
            }
        }
    }
    let meta = std::fs::read_to_string(subject.path.join("meta/main.yml")).unwrap_or_default();
    let meta: Value = yaml_serde::from_str(&meta).unwrap_or(Value::Null);
    for dependency in meta.get("dependencies").and_then(Value::as_sequence).into_iter().flatten() {
        let named = ["role", "name"].into_iter().find_map(|key| dependency.get(key)?.as_str());
        if let Some(name) = dependency.as_str().or(named) {
            wrong.extend(missing(subject, name).map(|why| format!("meta/main.yml: a dependency {why}")));
        }
    }
    wrong
}

/// Why a role of this name is not found; nothing where that is known only when the play runs.
fn missing(subject: InspectedRole<'_>, name: &str) -> Option<String> {
    if name.contains("{{") || name.contains('/') || name.matches('.').count() == 2 {
        return None;
    }
    let is_kept = |role: &RoleName| role == subject.name || subject.uses.contains(role);
    if name.parse().is_ok_and(|role| is_kept(&role)) {
        return None;
    }
    Some(format!(
        "names the role {name}, which an attempt does not have: besides {} it has the roles that its tasks use (`uses: \
         ROLE.TASK` in meta/aegir.yml) and those of installed collections, by their full names",
        subject.name
    ))
}

/// An argument of a module, whether written as a mapping or as `name=value`.
fn argument(value: &Value, name: &str) -> Option<String> {
    if let Some(text) = value.as_str() {
        let words = text.split_whitespace().filter_map(|word| word.split_once('='));
        return words.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    }
    value.get(name)?.as_str().map(str::to_owned)
}

fn is_there(directory: &Path, file: &str) -> bool {
    ["", ".yml", ".yaml"].iter().any(|end| directory.join(format!("{file}{end}")).exists())
}
