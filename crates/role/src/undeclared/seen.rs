//! Reading a role's files for the words that they use.
//!
//! Read as text: what stands in `{{ }}` and `{% %}`, and in keys such as `when` that are expressions as a whole. Files that
//! a task-file includes by a fixed name, and templates, are read too. What is put together while the play runs can't be
//! seen here; it fails then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegir_protocol::name::RoleName;
use yaml_serde::Value;

use super::words::{in_braces, is_expression, is_no_variable, without_quoted, words};

/// Keys of a step that name another task-file.
const INCLUDES: [&str; 2] = ["include_tasks", "import_tasks"];

/// A role's files, and where those of roles beside it are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Files<'a> {
    pub(crate) name: &'a RoleName,
    pub(crate) path: &'a Path,
    pub(crate) beside: &'a BTreeMap<RoleName, PathBuf>,
}

/// Each word with the role's prefix, or `aegir.outputs.…`, and the first file that has it.
pub(super) type Words = BTreeMap<String, PathBuf>;

/// What is found in the files of one task.
#[derive(Debug, Default)]
pub(super) struct UsedNames {
    pub(super) used: Words,
    /// Of these, and of outputs in general (`aegir.outputs`), a file asks whether they are there.
    pub(super) asked: BTreeSet<String>,
    /// What the files set themselves.
    pub(super) set: BTreeSet<String>,
    pub(super) files: BTreeSet<PathBuf>,
    pub(super) broken: Vec<String>,
}

impl UsedNames {
    /// Whether a file asks if an output is there.
    pub(super) fn asks_for(&self, word: &str) -> bool {
        [word, "aegir.outputs"].iter().any(|word| self.asked.contains(*word))
    }

    pub(super) fn task_file(&mut self, role: Files<'_>, file: PathBuf) {
        // One that is missing is said elsewhere, or may be no file of this role.
        let Ok(text) = std::fs::read_to_string(role.path.join(&file)) else { return };
        if !self.files.insert(file.clone()) {
            return;
        }
        match yaml_serde::from_str::<Value>(&text) {
            Ok(steps) => self.value(role, &file, &steps, false),
            Err(error) => self.broken.push(format!("{}: {error}", file.display())),
        }
    }

    pub(super) fn value(&mut self, role: Files<'_>, file: &Path, value: &Value, expression: bool) {
        match value {
            Value::String(text) if expression => self.expression(role, file, text),
            Value::String(text) => self.template(role, file, text),
            Value::Sequence(items) => {
                for item in items {
                    self.value(role, file, item, expression);
                }
            }
            Value::Mapping(mapping) => {
                for (key, value) in mapping {
                    let key = key.as_str().unwrap_or_default();
                    self.template(role, file, key);
                    self.key(role, file, key.rsplit('.').next().unwrap_or_default(), value);
                    self.value(role, file, value, is_expression(key));
                }
            }
            Value::Tagged(tagged) => {
                // `!unsafe` says that it is no template.
                if tagged.tag != "unsafe" {
                    self.value(role, file, &tagged.value, expression);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What a key of a step, without its collection, says of other files and of names.
    fn key(&mut self, role: Files<'_>, file: &Path, key: &str, value: &Value) {
        let text = |key: &str| value.as_str().or_else(|| value.get(key)?.as_str());
        match key {
            "register" | "loop_var" | "index_var" => self.set.extend(value.as_str().map(str::to_owned)),
            "set_fact" | "vars" => {
                let keys = value.as_mapping().into_iter().flat_map(|mapping| mapping.keys());
                self.set.extend(keys.filter_map(Value::as_str).map(str::to_owned));
            }
            "template" => {
                let source = text("src").filter(|source| is_fixed(source));
                let Some(file) = source.map(|source| Path::new("templates").join(source)) else { return };
                if let Ok(text) = std::fs::read_to_string(role.path.join(&file)) {
                    self.template(role, &file, &text);
                }
            }
            key if INCLUDES.contains(&key) => {
                let Some(named) = text("file").filter(|file| is_fixed(file)) else { return };
                // Ansible looks beside the file that includes it as well.
                let role_paths = [Path::new("tasks").join(named), file.with_file_name(named)];
                match role_paths.into_iter().find(|place| role.path.join(place).is_file()) {
                    Some(found) => self.task_file(role, found),
                    None => self.broken.push(format!(
                        "{}: {key} names {named}, and there is no file tasks/{named}",
                        file.display()
                    )),
                }
            }
            "include_role" | "import_role" => {
                let fixed = |key: &str| value.get(key)?.as_str().filter(|text| is_fixed(text));
                let (Some(other), Some(from)) = (fixed("name"), fixed("tasks_from")) else { return };
                let path = if other == role.name.as_str() {
                    Some(role.path)
                } else {
                    // One that is not here may be an Ansible role without a manifest.
                    other.parse().ok().and_then(|other: RoleName| Some(role.beside.get(&other)?.as_path()))
                };
                let there = |path: &Path| {
                    let ends = ["", ".yml", ".yaml"];
                    ends.iter().any(|end| path.join("tasks").join(format!("{from}{end}")).is_file())
                };
                if path.is_some_and(|path| !there(path)) {
                    self.broken.push(format!(
                        "{}: {key} names {from} of the role {other}, which has no such file in tasks/",
                        file.display()
                    ));
                }
            }
            _ => {}
        }
    }

    /// A text in which only what stands in braces is an expression.
    fn template(&mut self, role: Files<'_>, file: &Path, text: &str) {
        in_braces(text, &mut |inside| self.expression(role, file, inside));
    }

    fn expression(&mut self, role: Files<'_>, file: &Path, text: &str) {
        let outside = without_quoted(text);
        let own = format!("{}_", role.name);
        self.set.extend(locals(&outside));
        for (word, before, behind) in words(&outside) {
            if is_no_variable(before, behind) {
                continue;
            }
            let word = if word == "aegir.outputs" || word.starts_with("aegir.outputs.") {
                let parts: Vec<_> = word.splitn(5, '.').take(4).collect();
                let rest = behind.strip_prefix('|').map(str::trim_start);
                if parts.len() < 4 {
                    // Which ones is for the play to say.
                    self.asked.insert("aegir.outputs".to_owned());
                    continue;
                }
                let word = parts.join(".");
                if rest.is_some_and(|rest| rest.starts_with("default"))
                    || ["is defined", "is not defined", "is undefined"]
                        .iter()
                        .any(|asks| behind.starts_with(asks))
                {
                    self.asked.insert(word.clone());
                }
                word
            } else {
                let first = word.split('.').next().unwrap_or_default();
                if !first.starts_with(&own) {
                    continue;
                }
                first.to_owned()
            };
            self.used.entry(word).or_insert_with(|| file.to_owned());
        }
    }
}

/// What `for … in` and `set …` name.
fn locals(expression: &str) -> Vec<String> {
    let expression = expression.trim().trim_matches('-').trim();
    let names = if let Some(rest) = expression.strip_prefix("for ") {
        rest.split(" in ").next().unwrap_or_default()
    } else if let Some(rest) = expression.strip_prefix("set ") {
        rest.split('=').next().unwrap_or_default()
    } else {
        return Vec::new();
    };
    names.split(',').map(|name| name.trim().to_owned()).collect()
}

/// Whether a path is no template, and does not lead out of the role.
fn is_fixed(path: &str) -> bool {
    !path.contains("{{") && !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}
