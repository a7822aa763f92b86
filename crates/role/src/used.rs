//! Which variables and outputs the task-files of a role use, and whether its manifest says so.
//!
//! Read as text: what stands in `{{ }}` and `{% %}`, and in keys such as `when` that are expressions as a whole. Files that
//! a task-file includes by a fixed name, and templates, are read too. What is put together while the play runs can't be
//! seen here; it fails then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegir_protocol::manifest::{Manifest, TaskManifest};
use aegir_protocol::name::{RoleName, TaskName, VariableName};
use yaml_serde::Value;

/// Keys whose text is an expression without braces.
const EXPRESSIONS: [&str; 7] = ["when", "changed_when", "failed_when", "until", "that", "var", "break_when"];
/// Keys of a step that name another task-file.
const INCLUDES: [&str; 2] = ["include_tasks", "import_tasks"];

/// What is found in the files of one task.
#[derive(Debug, Default)]
struct Seen {
    /// Each word with the role's prefix, or `aegir.outputs.…`, and the first file that has it.
    used: BTreeMap<String, PathBuf>,
    /// What some expression asks for before it is used: `x is defined`, `x | default(…)`.
    asked_for: BTreeSet<String>,
    /// What the files set themselves.
    set: BTreeSet<String>,
    files: BTreeSet<PathBuf>,
    broken: Vec<String>,
}

/// What the manifest does not say, in sentences.
pub(crate) fn check(role: &Path, name: &RoleName, manifest: &Manifest) -> Vec<String> {
    let (own, vault) = (own_variables(role, name), has_a_vault(role));
    let mut wrong = Vec::new();
    for (task_name, task) in &manifest.tasks {
        let Some(file) = task.task_file(task_name) else { continue };
        let mut seen = Seen { set: own.clone(), ..Seen::default() };
        seen.task_file(role, name, Path::new("tasks").join(file));
        wrong.append(&mut seen.broken);
        let used = seen.used.iter().filter(|(word, _)| !vault && !seen.set.contains(*word));
        for (word, file) in used {
            let said = problem(word, name, task_name, task, manifest);
            wrong.extend(said.map(|said| format!("{}: {said}", file.display())));
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// What the task-files of other roles, which this role's tasks build on, take from `aegir.outputs` and this role does not hand
/// over: they find what its own tasks do, whatever their manifest says. What they ask for before they use it may be missing.
pub(crate) fn check_outputs_of_used(
    manifest: &Manifest,
    others: &BTreeMap<RoleName, (&Path, &Manifest)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (task_name, task) in &manifest.tasks {
        let mut next = task.uses.as_ref();
        while let Some(used) = next {
            let Some((path, other)) = others.get(&used.role) else { break };
            let Some(declared) = other.tasks.get(&used.action) else { break };
            let mut seen = Seen::default();
            if let Some(file) = declared.task_file(&used.action) {
                seen.task_file(path, &used.role, Path::new("tasks").join(file));
            }
            let is_asked_for = |word: &String| seen.asked_for.iter().any(|asked| is_part_of(word, asked));
            let outputs =
                seen.used.keys().filter(|word| word.starts_with("aegir.outputs.") && !is_asked_for(word));
            for word in outputs {
                let said = problem(word, &used.role, task_name, task, manifest);
                wrong.extend(said.map(|said| format!("{said}, which {used} takes from it")));
            }
            next = declared.uses.as_ref();
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// Whether `a.b.c` is `a.b.c` or a part of `a.b`.
fn is_part_of(word: &str, whole: &str) -> bool {
    word.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What is wrong with a word, if anything is.
fn problem(
    word: &str,
    role: &RoleName,
    task_name: &TaskName,
    task: &TaskManifest,
    manifest: &Manifest,
) -> Option<String> {
    if let Some(output) = word.strip_prefix("aegir.outputs.") {
        let (of, document) = output.split_once('.')?;
        let declared = of.parse().ok().and_then(|of: TaskName| manifest.tasks.get(&of));
        let known =
            declared.is_some_and(|task| task.outputs.keys().any(|declared| declared.as_str() == document));
        return (!known).then(|| {
            format!("task {task_name} uses {word}, and no task {of} has {document} among its outputs")
        });
    }
    // Two underscores are a role's own business.
    let variable: VariableName = word.strip_prefix(role.as_str())?.strip_prefix('_')?.parse().ok()?;
    if task.variables.contains(&variable) {
        return None;
    }
    Some(if manifest.variables.contains_key(&variable) {
        format!(
            "task {task_name} uses {word} and does not get it: add {variable} to tasks.{task_name}.variables"
        )
    } else {
        format!("task {task_name} uses {word}, and no variable {variable} is declared")
    })
}

/// What `defaults/` and `vars/` of the role set, and any of its task-files: which of those a play includes may be known
/// only when it runs.
fn own_variables(role: &Path, name: &RoleName) -> BTreeSet<String> {
    let mut all = Seen::default();
    for file in files_below(role, Path::new("tasks")) {
        all.task_file(role, name, file);
    }
    let mut own = all.set;
    for file in ["defaults", "vars"].into_iter().flat_map(|directory| files_below(role, Path::new(directory)))
    {
        let text = std::fs::read_to_string(role.join(file)).unwrap_or_default();
        if let Ok(Value::Mapping(mapping)) = yaml_serde::from_str(&text) {
            own.extend(mapping.keys().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    own
}

/// The files in a directory of the role, and below it, by their paths in the role.
fn files_below(role: &Path, directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(role.join(directory)).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| {
        let path = directory.join(entry.file_name());
        // A link leads to a file that is here as well, or to one that is none of the role's.
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(role, &path),
            Ok(kind) if kind.is_file() => vec![path],
            Ok(_) | Err(_) => Vec::new(),
        }
    });
    below.collect()
}

/// Whether a file of variables is encrypted, so that nobody can say what the role sets.
fn has_a_vault(role: &Path) -> bool {
    let files =
        ["defaults", "vars"].into_iter().flat_map(|directory| files_below(role, Path::new(directory)));
    files
        .into_iter()
        .any(|file| std::fs::read(role.join(file)).is_ok_and(|bytes| bytes.starts_with(b"$ANSIBLE_VAULT")))
}

impl Seen {
    fn task_file(&mut self, role: &Path, name: &RoleName, file: PathBuf) {
        // One that is missing is said elsewhere, or may be no file of this role.
        let Ok(text) = std::fs::read_to_string(role.join(&file)) else { return };
        if !self.files.insert(file.clone()) {
            return;
        }
        match yaml_serde::from_str::<Value>(&text) {
            Ok(steps) => self.value(role, name, &file, &steps, false),
            Err(error) => self.broken.push(format!("{}: {error}", file.display())),
        }
    }

    fn value(&mut self, role: &Path, name: &RoleName, file: &Path, value: &Value, expression: bool) {
        match value {
            Value::String(text) if expression => self.expression(name, file, text),
            Value::String(text) => self.template(name, file, text),
            Value::Sequence(items) => {
                for item in items {
                    self.value(role, name, file, item, expression);
                }
            }
            Value::Mapping(mapping) => {
                for (key, value) in mapping {
                    let key = key.as_str().unwrap_or_default();
                    self.template(name, file, key);
                    self.key(role, name, key.rsplit('.').next().unwrap_or_default(), value);
                    self.value(role, name, file, value, EXPRESSIONS.contains(&key));
                }
            }
            Value::Tagged(tagged) => {
                // `!unsafe` says that it is no template.
                if tagged.tag != "unsafe" {
                    self.value(role, name, file, &tagged.value, expression);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What a key of a step, without its collection, says of other files and of names.
    fn key(&mut self, role: &Path, name: &RoleName, key: &str, value: &Value) {
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
                if let Ok(text) = std::fs::read_to_string(role.join(&file)) {
                    self.template(name, &file, &text);
                }
            }
            key if INCLUDES.contains(&key) => {
                if let Some(file) = text("file").filter(|file| is_fixed(file)) {
                    self.task_file(role, name, Path::new("tasks").join(file));
                }
            }
            _ => {}
        }
    }

    /// A text in which only what stands in braces is an expression.
    fn template(&mut self, name: &RoleName, file: &Path, text: &str) {
        let text = without(&without(text, "{#", "#}"), "{% raw %}", "{% endraw %}");
        let mut rest = text.as_str();
        while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).min() {
            let end = if rest[start..].starts_with("{{") { "}}" } else { "%}" };
            let inside = &rest[start + 2..];
            let length = inside.find(end).unwrap_or(inside.len());
            self.expression(name, file, &inside[..length]);
            rest = &inside[length..];
        }
    }

    fn expression(&mut self, name: &RoleName, file: &Path, text: &str) {
        let outside = without_quoted(text);
        let own = format!("{name}_");
        self.set.extend(locals(&outside));
        for (word, before, behind) in words(&outside) {
            // A filter or a test, a function, the name of an argument.
            let follows = |sign: &str| before.trim_end().ends_with(sign);
            let is_argument = behind.starts_with('=') && !behind.starts_with("==");
            if follows("|") || follows(" is") || follows(" is not") || behind.starts_with('(') || is_argument
            {
                continue;
            }
            if ["| default", "| d(", "is defined", "is not defined"]
                .iter()
                .any(|sign| behind.starts_with(sign))
            {
                self.asked_for.insert(word.to_owned());
            }
            let word = if let Some(output) = word.strip_prefix("aegir.outputs.") {
                let mut parts = output.split('.');
                let (Some(task), Some(document)) = (parts.next(), parts.next()) else { continue };
                format!("aegir.outputs.{task}.{document}")
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

/// The words of an expression, each with what stands before and behind it.
fn words(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(part)?;
        let end = text[start..].find(|c| !part(c)).map_or(text.len(), |length| start + length);
        at = end;
        Some((&text[start..end], &text[..start], text[end..].trim_start()))
    })
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

/// A text without what stands between two signs, and without these.
fn without(text: &str, open: &str, close: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(open) {
        kept.push_str(&rest[..start]);
        let inside = &rest[start + open.len()..];
        rest = inside.find(close).map_or("", |end| &inside[end + close.len()..]);
    }
    kept.push_str(rest);
    kept
}

/// Whether a path is no template, and does not lead out of the role.
fn is_fixed(path: &str) -> bool {
    !path.contains("{{") && !path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// An expression without its quoted texts.
fn without_quoted(text: &str) -> String {
    let mut outside = String::with_capacity(text.len());
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match quote {
            Some(open) => {
                if c == open && !escaped {
                    quote = None;
                    outside.push(' ');
                }
                escaped = c == '\\' && !escaped;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            None => outside.push(c),
        }
    }
    outside
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
schema: aegir.role/0
title: T
targets: [site]
operations: {run: {title: Run, tasks: [dump, load]}}
tasks:
  dump: {variables: [path], outputs: {backup: {type: string}}}
  load: {variables: [path]}
variables:
  path: {type: string, scope: site}
  word: {type: string, scope: site}
";

    #[track_caller]
    fn wrong(files: &[(&str, &str)], expected: &[&str]) {
        let role = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = role.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let manifest = yaml_serde::from_str(MANIFEST).unwrap();
        let found = check(role.path(), &"shop".parse().unwrap(), &manifest);
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_declared_set_or_no_variable_is_fine() {
        let dump = r#"
- ansible.builtin.stat: {path: "{{ shop_path }}/shop_thing"}
  register: shop_found
- ansible.builtin.set_fact: {shop_size: "{{ shop_found.stat.size }}"}
- ansible.builtin.debug: {msg: "{{ shop_size }} {{ shop_default }} {{ 'shop_text' ~ shop_local }} {{ aegir.target.name }}"}
  vars: {shop_local: 1}
  when: shop_found.stat.exists and other_shop_thing is not defined
- ansible.builtin.debug: {msg: !unsafe "{{ shop_nothing }}"}
- ansible.builtin.include_tasks: "{{ shop_path }}.yml"
- ansible.builtin.debug: {var: shop_elsewhere + shop__own}
- ansible.builtin.template: {src: page.j2, dest: /x}
- ansible.builtin.debug: {msg: "{{ [1] | shop_sum }} {{ shop_now() }} {{ dict(shop_key=1) }} {{ 1 is shop_odd }}"}
"#;
        let load = "- ansible.builtin.debug: {msg: '{{ aegir.outputs.dump.backup }}'}\n";
        wrong(
            &[
                ("tasks/dump.yml", dump),
                ("tasks/load.yml", load),
                (
                    "templates/page.j2",
                    "{# {{ shop_old }} #}{% for shop_one in [1] %}{{ shop_one }}{% endfor %}{% set shop_two = 2 %}{{ shop_two }}{% raw %}{{ shop_raw }}{% endraw %}",
                ),
                ("tasks/included.yml", "- ansible.builtin.set_fact: {shop_elsewhere: 1}\n"),
                ("defaults/main.yml", "shop_default: 1\n"),
            ],
            &[],
        );
    }

    #[test]
    fn what_is_not_declared_is_said_with_its_file() {
        let dump = r#"
- ansible.builtin.template: {src: page.j2, dest: /x}
- ansible.builtin.include_tasks: more.yml
- ansible.builtin.debug: {msg: "{{ shop_wrod }}"}
"#;
        wrong(
            &[
                ("tasks/dump.yml", dump),
                ("tasks/more.yml", "- ansible.builtin.debug:\n  when: shop_word | length > 0\n"),
                ("tasks/load.yml", "- ansible.builtin.debug: {var: aegir.outputs.dump.backdrop.path}\n"),
                ("templates/page.j2", "{% if shop_other %}shop_nothing{% endif %}"),
            ],
            &[
                "tasks/dump.yml: task dump uses shop_wrod, and no variable wrod is declared",
                "tasks/load.yml: task load uses aegir.outputs.dump.backdrop, and no task dump has backdrop among its outputs",
                "tasks/more.yml: task dump uses shop_word and does not get it: add word to tasks.dump.variables",
                "templates/page.j2: task dump uses shop_other, and no variable other is declared",
            ],
        );
    }

    #[test]
    fn a_task_file_that_does_not_parse_is_said() {
        let role = tempfile::tempdir().unwrap();
        std::fs::create_dir(role.path().join("tasks")).unwrap();
        std::fs::write(role.path().join("tasks/dump.yml"), "- {a: [\n").unwrap();
        let manifest = yaml_serde::from_str(MANIFEST).unwrap();
        let found = check(role.path(), &"shop".parse().unwrap(), &manifest);
        assert!(found.len() == 1 && found[0].starts_with("tasks/dump.yml: "), "{found:?}");
    }

    #[test]
    fn what_a_vault_sets_nobody_can_say() {
        let dump = "- ansible.builtin.debug: {var: shop_hidden}\n";
        let vault = "$ANSIBLE_VAULT;1.1;AES256\n3033\n";
        wrong(&[("tasks/dump.yml", dump), ("vars/main/secret.yml", vault)], &[]);
    }
}
