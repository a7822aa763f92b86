//! The steps of a role's files, each by its own keys.

use std::path::{Path, PathBuf};

use yaml_serde::Value;

use crate::undeclared::files_below;

/// Keys that hold further steps, of a block or of a play.
const NESTED: [&str; 7] = ["block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"];

/// Keys that name another file of steps.
const INCLUDES: [&str; 3] = ["import_playbook", "include_tasks", "import_tasks"];

/// A step, a block or a play, without the steps in it.
#[derive(Debug)]
pub(super) struct YamlStep {
    /// Relative to the role.
    pub(super) file: PathBuf,
    /// What a reader finds it by.
    pub(super) name: String,
    /// Keys without the name of a collection, and their values.
    pub(super) keys: Vec<(String, Value)>,
}

impl YamlStep {
    /// Where something is, for a finding.
    pub(super) fn place(&self) -> String {
        format!("{}: {}", self.file.display(), self.name)
    }
}

/// Every step in the task-files and handlers of a role, whether a fixed name leads there or not.
pub(super) fn of_role(role: &Path) -> Vec<YamlStep> {
    let mut steps = Vec::new();
    for file in ["tasks", "handlers"].into_iter().flat_map(|place| files_below(role, Path::new(place))) {
        // What is no YAML is said elsewhere, or is no file of steps.
        if let Some(value) = yaml(role, &file) {
            of_list(&file, &value, &mut steps);
        }
    }
    steps
}

/// What the files in these directories say, file by file.
pub(super) fn variables(role: &Path, directories: [&str; 2]) -> Vec<(PathBuf, Value)> {
    let files = directories.into_iter().flat_map(|place| files_below(role, Path::new(place)));
    files.filter_map(|file| yaml(role, &file).map(|value| (file, value))).collect()
}

/// Every step of a playbook, of those that it imports, and of the task-files that it includes by fixed names. The plays are
/// among them.
pub(super) fn of_playbook(directory: &Path, playbook: &Path) -> Vec<YamlStep> {
    let mut steps = Vec::new();
    let mut files = vec![playbook.to_owned()];
    let mut next = 0;
    while let Some(file) = files.get(next).cloned() {
        next += 1;
        let from = steps.len();
        if let Some(value) = yaml(directory, &file) {
            of_list(&file, &value, &mut steps);
        }
        for (_, value) in steps[from..]
            .iter()
            .flat_map(|step| &step.keys)
            .filter(|(key, _)| INCLUDES.contains(&key.as_str()))
        {
            let named = value.as_str().or_else(|| value.get("file")?.as_str());
            let Some(named) = named.filter(|named| !named.contains("{{")) else { continue };
            let role_paths = [file.with_file_name(named), PathBuf::from(named)];
            let found = role_paths.into_iter().find(|place| directory.join(place).is_file());
            let found = found.filter(|found| !files.contains(found));
            files.extend(found);
        }
    }
    steps
}

fn yaml(role: &Path, file: &Path) -> Option<Value> {
    let is_yaml = file.extension().is_none_or(|extension| extension == "yml" || extension == "yaml");
    let text = is_yaml.then(|| std::fs::read_to_string(role.join(file)).ok()).flatten()?;
    yaml_serde::from_str(&text).ok()
}

fn of_list(file: &Path, value: &Value, into: &mut Vec<YamlStep>) {
    for step in value.as_sequence().into_iter().flatten() {
        let Some(mapping) = step.as_mapping() else { continue };
        let mut keys = Vec::new();
        let mut nested = Vec::new();
        for (key, value) in mapping {
            let Some(key) = key.as_str() else { continue };
            let key = key.rsplit('.').next().unwrap_or(key).to_owned();
            if NESTED.contains(&key.as_str()) && value.is_sequence() {
                nested.push(value);
            } else {
                keys.push((key, value.clone()));
            }
        }
        let named = keys.iter().find(|(key, _)| key == "name").and_then(|(_, value)| value.as_str());
        let name = named.map_or_else(
            || format!("a step with {}", keys.first().map_or("block", |(key, _)| key.as_str())),
            |name| format!("{name:?}"),
        );
        into.push(YamlStep { file: file.to_owned(), name, keys });
        nested.into_iter().for_each(|value| of_list(file, value, into));
    }
}
