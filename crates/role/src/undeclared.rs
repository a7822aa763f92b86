//! What the files of a role use and do not have: variables and outputs that its manifest does not declare, and task-files
//! that are not there.

mod seen;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use aegir_catalog::manifest::{Manifest, TaskManifest};
use aegir_protocol::name::{RoleName, TaskName, VariableName};
use yaml_serde::Value;

pub(crate) use seen::Files;
use seen::{UsedNames, Words};
pub(crate) use words::{expressions, used_in};

/// What a role sets itself.
#[derive(Debug, Default)]
struct Own {
    set: BTreeSet<String>,
    /// What the values in `vars/` and `defaults/` use.
    uses: Words,
}

/// What the manifest does not say, in sentences.
pub(crate) fn check(role: Files<'_>, manifest: &Manifest) -> Vec<String> {
    let (own, vault) = (own_variables(role), has_a_vault(role.path));
    let mut wrong = Vec::new();
    for (task_name, task) in &manifest.tasks {
        let Some(file) = task.task_file(task_name) else { continue };
        let mut seen = UsedNames { set: own.set.clone(), ..UsedNames::default() };
        seen.task_file(role, Path::new("tasks").join(file));
        wrong.append(&mut seen.broken);
        wrong.extend(too_early(&seen, task_name, manifest));
        let used = seen.used.iter().filter(|(word, _)| !vault && !seen.set.contains(*word));
        for (word, file) in used {
            let said = problem(word, role.name, task_name, task, manifest);
            wrong.extend(said.map(|said| format!("{}: {said}", file.display())));
        }
    }
    // Which Task needs which of these is for the play to say: a value is looked at when it is used.
    for (word, file) in own.uses.iter().filter(|(word, _)| !vault && !own.set.contains(*word)) {
        let undeclared = variable(word, role.name).filter(|name| !manifest.variables.contains_key(name));
        let said = |name| format!("{}: {word} is used, and no variable {name} is declared", file.display());
        wrong.extend(undeclared.map(said));
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// What the task-files of other roles, which this role's tasks build on, take from `aegir.outputs` and this role does not hand
/// over: they find what its own tasks do, whatever their manifest says. What they ask for before they use it may be missing.
pub(crate) fn check_used(
    manifest: &Manifest,
    beside: &BTreeMap<RoleName, PathBuf>,
    others: &BTreeMap<RoleName, &Manifest>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (task_name, task) in &manifest.tasks {
        let mut next = task.uses.as_ref();
        while let Some(used) = next {
            let (Some(path), Some(other)) = (beside.get(&used.role), others.get(&used.role)) else { break };
            let Some(declared) = other.tasks.get(&used.task) else { break };
            let mut seen = UsedNames::default();
            if let Some(file) = declared.task_file(&used.task) {
                seen.task_file(Files { name: &used.role, path, beside }, Path::new("tasks").join(file));
            }
            for (word, asked) in seen.used.keys().map(|word| (word, seen.asks_for(word))) {
                if let Some((of, document)) = output(word)
                    && !asked
                    && !hands_over(manifest, of, document)
                {
                    wrong.push(format!(
                        "task {task_name} uses {word}, and no task {of} has {document} among its outputs, which {used} takes from it"
                    ));
                }
            }
            next = declared.uses.as_ref();
        }
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

/// What a task counts on, and the tasks before it in an operation do not hand over.
fn too_early(seen: &UsedNames, task: &TaskName, manifest: &Manifest) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, operation) in &manifest.operations {
        let at = operation.tasks.iter().position(|listed| listed == task);
        let before = &operation.tasks[..at.unwrap_or(0)];
        for (word, file) in seen.used.iter().filter(|_| at.is_some()) {
            let Some((of, document)) = output(word) else { continue };
            let asked = seen.asks_for(word);
            let comes_before = before.iter().any(|task| task.as_str() == of);
            // One that nobody hands over is said elsewhere.
            if !asked && !comes_before && hands_over(manifest, of, document) {
                wrong.push(format!(
                    "{}: task {task} uses {word}, and in the operation {name} {of} does not come before it",
                    file.display()
                ));
            }
        }
    }
    wrong
}

/// The task and the document of `aegir.outputs.TASK.DOCUMENT`.
fn output(word: &str) -> Option<(&str, &str)> {
    word.strip_prefix("aegir.outputs.")?.split_once('.')
}

fn hands_over(manifest: &Manifest, task: &str, document: &str) -> bool {
    let declared = task.parse().ok().and_then(|task: TaskName| manifest.tasks.get(&task));
    declared.is_some_and(|task| task.outputs.keys().any(|declared| declared.as_str() == document))
}

/// The variable that a word stands for. Two underscores are a role's own business.
fn variable(word: &str, role: &RoleName) -> Option<VariableName> {
    word.strip_prefix(role.as_str())?.strip_prefix('_')?.parse().ok()
}

/// What is wrong with a word, if anything is.
fn problem(
    word: &str,
    role: &RoleName,
    task_name: &TaskName,
    task: &TaskManifest,
    manifest: &Manifest,
) -> Option<String> {
    if let Some((of, document)) = output(word) {
        return (!hands_over(manifest, of, document)).then(|| {
            format!("task {task_name} uses {word}, and no task {of} has {document} among its outputs")
        });
    }
    let variable = variable(word, role)?;
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
fn own_variables(role: Files<'_>) -> Own {
    let mut all = UsedNames::default();
    for file in files_below(role.path, Path::new("tasks")) {
        all.task_file(role, file);
    }
    let mut own = Own { set: all.set, uses: Words::new() };
    let files = ["defaults", "vars"].into_iter().flat_map(|place| files_below(role.path, Path::new(place)));
    for file in files {
        let text = std::fs::read_to_string(role.path.join(&file)).unwrap_or_default();
        let Ok(Value::Mapping(mapping)) = yaml_serde::from_str(&text) else { continue };
        for (name, value) in &mapping {
            let Some(name) = name.as_str() else { continue };
            let mut seen = UsedNames::default();
            seen.value(role, &file, value, false);
            // What a loop in a template names is no variable.
            seen.used.retain(|word, _| !seen.set.contains(word));
            own.set.insert(name.to_owned());
            own.uses.extend(seen.used);
        }
    }
    own
}

/// The files in a directory of the role, and below it, by their paths in the role.
pub(crate) fn files_below(role: &Path, directory: &Path) -> Vec<PathBuf> {
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
    let mut below: Vec<_> = below.collect();
    below.sort();
    below
}

/// Whether a file of variables is encrypted, so that nobody can say what the role sets.
fn has_a_vault(role: &Path) -> bool {
    let files =
        ["defaults", "vars"].into_iter().flat_map(|directory| files_below(role, Path::new(directory)));
    files
        .into_iter()
        .any(|file| std::fs::read(role.join(file)).is_ok_and(|bytes| bytes.starts_with(b"$ANSIBLE_VAULT")))
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

    /// The role `shop`, beside which a role `base` is in the same directory.
    fn check_files(path: &Path, manifest: &Manifest) -> Vec<String> {
        let beside = BTreeMap::from([("base".parse().unwrap(), path.to_owned())]);
        check(Files { name: &"shop".parse().unwrap(), path, beside: &beside }, manifest)
    }

    #[track_caller]
    fn wrong(files: &[(&str, &str)], expected: &[&str]) {
        let role = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = role.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let manifest = yaml_serde::from_str(MANIFEST).unwrap();
        assert_eq!(check_files(role.path(), &manifest), expected);
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
        let found = check_files(role.path(), &manifest);
        assert!(found.len() == 1 && found[0].starts_with("tasks/dump.yml: "), "{found:?}");
    }

    #[test]
    fn what_a_vault_sets_nobody_can_say() {
        let dump = "- ansible.builtin.debug: {var: shop_hidden}\n";
        let vault = "$ANSIBLE_VAULT;1.1;AES256\n3033\n";
        wrong(&[("tasks/dump.yml", dump), ("vars/main/secret.yml", vault)], &[]);
    }

    #[test]
    fn what_the_roles_own_variables_use_is_declared() {
        let vars = "shop__place: '{{ shop__root }}/x'\nshop__root: '{{ shop_path }}{{ shop_size }}{{ shop_word }}'\n\
                    shop__list: '{% for shop_one in shop_path %}{{ shop_one }}{% endfor %}{{ shop_lost }}'\n";
        wrong(
            &[
                ("tasks/dump.yml", "- ansible.builtin.debug: {var: shop__place}\n"),
                ("vars/main.yml", vars),
                ("defaults/main.yml", "shop_size: '{{ shop_wrod }}'\n"),
            ],
            &[
                "defaults/main.yml: shop_wrod is used, and no variable wrod is declared",
                "vars/main.yml: shop_lost is used, and no variable lost is declared",
            ],
        );
    }

    #[test]
    fn a_file_that_is_included_by_name_must_be_there() {
        let dump = r#"
- ansible.builtin.include_tasks: more.yml
- ansible.builtin.import_tasks: {file: sub/deep.yml}
- ansible.builtin.include_tasks: "{{ shop_path }}.yml"
- ansible.builtin.include_role: {name: shop, tasks_from: load}
- ansible.builtin.import_role: {name: base, tasks_from: none.yml}
- ansible.builtin.import_role: {name: elsewhere, tasks_from: none}
- ansible.builtin.import_role: {name: base, tasks_from: "{{ aegir.task }}"}
"#;
        wrong(
            &[
                ("tasks/dump.yml", dump),
                ("tasks/load.yml", "[]"),
                (
                    "tasks/sub/deep.yml",
                    "- ansible.builtin.include_tasks: deeper.yml\n- include_tasks: none.yml\n",
                ),
                ("tasks/sub/deeper.yml", "[]"),
            ],
            &[
                "tasks/dump.yml: import_role names none.yml of the role base, which has no such file in tasks/",
                "tasks/dump.yml: include_tasks names more.yml, and there is no file tasks/more.yml",
                "tasks/sub/deep.yml: include_tasks names none.yml, and there is no file tasks/none.yml",
            ],
        );
    }

    #[test]
    fn an_output_must_come_from_a_task_before() {
        let manifest = MANIFEST.replace(
            "tasks: [dump, load]}}",
            "tasks: [dump, load]}, back: {title: Back, tasks: [load, dump]}, only: {title: Only, tasks: [load]}}",
        );
        let manifest: Manifest = yaml_serde::from_str(&manifest).unwrap();
        let said = |load: &str| {
            let role = tempfile::tempdir().unwrap();
            std::fs::create_dir(role.path().join("tasks")).unwrap();
            std::fs::write(role.path().join("tasks/dump.yml"), "[]").unwrap();
            std::fs::write(role.path().join("tasks/load.yml"), format!("- debug: {{msg: \"{load}\"}}\n"))
                .unwrap();
            check_files(role.path(), &manifest)
        };
        let why = |operation: &str| {
            format!(
                "tasks/load.yml: task load uses aegir.outputs.dump.backup, and in the operation {operation} dump does not \
                 come before it"
            )
        };
        assert_eq!(said("{{ aegir.outputs.dump.backup.path }}"), [why("back"), why("only")]);
        // Whoever asks for it can do without.
        for asks in [
            "{{ aegir.outputs.dump.backup.path | default('') }}",
            "{{ 'x' if aegir.outputs.dump.backup is defined }} {{ aegir.outputs.dump.backup }}",
            "{{ (aegir.outputs.dump | default({})).backup }}",
            "{{ 'dump' in aegir.outputs }} {{ aegir.outputs.dump.backup }}",
        ] {
            assert_eq!(said(asks), Vec::<String>::new(), "{asks}");
        }
    }
}
