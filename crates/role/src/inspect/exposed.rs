//! Secrets where other users of a machine can read them: Ansible puts what stands in `environment` into a command line, here
//! and on the minion, and a program's arguments are shown to everybody as well.

use std::collections::BTreeSet;
use std::path::PathBuf;

use yaml_serde::Value;

use super::inspected_role::InspectedRole;
use super::steps::YamlStep;
use crate::undeclared::{expressions, used_in};

/// Modules whose arguments become a command line.
const COMMANDS: [&str; 6] = ["command", "shell", "raw", "script", "expect", "win_command"];
/// What of these arguments is none of it.
const ASIDE: [&str; 6] = ["stdin", "chdir", "creates", "removes", "executable", "responses"];
/// Keys of a step that are not its module's.
const LOOPS: [&str; 4] = ["loop", "with_items", "with_dict", "with_list"];

/// What is shown so, in sentences.
pub(super) fn check(
    subject: InspectedRole<'_>,
    steps: &[YamlStep],
    variables: &[(PathBuf, Value)],
) -> Vec<String> {
    let secret = secrets(subject, steps, variables);
    let mut wrong = Vec::new();
    for step in steps {
        let mut here = secret.clone();
        if step
            .keys
            .iter()
            .any(|(key, value)| LOOPS.contains(&key.as_str()) && shown(key, value, &secret).is_some())
        {
            here.insert(loop_variable(step));
        }
        for (key, value) in &step.keys {
            if key == "environment" {
                wrong.extend(shown(key, value, &here).map(|word| {
                    format!(
                        "{}: environment holds the secret {word}, and Ansible puts that into command lines, where everybody \
                         on the minion and beside dispatcherd can read it: write a file with mode 0600 instead, or hand it \
                         over on standard input or as a module's argument, with no_log",
                        step.place()
                    )
                }));
            } else if COMMANDS.contains(&key.as_str()) {
                wrong.extend(arguments(value).find_map(|value| shown(key, value, &here)).map(|word| {
                    format!(
                        "{}: {key} has the secret {word} in its command line, where everybody on the minion can read it: hand it \
                         over with stdin, or in a file with mode 0600",
                        step.place()
                    )
                }));
            }
        }
    }
    wrong
}

/// What of a module's arguments stands in the command line.
fn arguments(value: &Value) -> impl Iterator<Item = &Value> {
    let whole = value.is_string().then_some(value);
    let parts = value.as_mapping().into_iter().flatten();
    let parts = parts.filter(|(name, _)| !name.as_str().is_some_and(|name| ASIDE.contains(&name)));
    whole.into_iter().chain(parts.map(|(_, value)| value))
}

fn loop_variable(step: &YamlStep) -> String {
    let control = step.keys.iter().find(|(key, _)| key == "loop_control");
    let named = control.and_then(|(_, control)| control.get("loop_var")?.as_str());
    named.unwrap_or("item").to_owned()
}

/// The first secret that a value shows.
fn shown(key: &str, value: &Value, secret: &BTreeSet<String>) -> Option<String> {
    let mut found = None;
    expressions(key, value, &mut |text| {
        let is_secret = |word: &String| {
            // `a.b.c` shows what `a`, `a.b` or itself holds.
            let parts = word.match_indices('.').map(|(at, _)| &word[..at]);
            parts.chain([word.as_str()]).any(|part| secret.contains(part))
        };
        let word = used_in(text).into_iter().find(is_secret);
        found = found.take().or(word);
    });
    found
}

/// The names of all that holds a secret: variables, outputs, and what is made of these.
fn secrets(
    subject: InspectedRole<'_>,
    steps: &[YamlStep],
    variables: &[(PathBuf, Value)],
) -> BTreeSet<String> {
    let mut secret = BTreeSet::new();
    for (name, declared) in &subject.manifest.variables {
        if declared.secret() {
            let roles = subject.uses.iter().chain([subject.name]);
            secret.extend(roles.map(|role| format!("{role}_{name}")));
        }
    }
    for (task, declared) in &subject.manifest.tasks {
        let outputs = declared.outputs.iter().filter(|(_, output)| output.secret());
        secret.extend(outputs.map(|(name, _)| format!("aegir.outputs.{task}.{name}")));
    }
    let sets = |step: &YamlStep| {
        let sets = step.keys.iter().filter(|(key, _)| key == "set_fact" || key == "vars");
        sets.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let all: Vec<Value> =
        variables.iter().map(|(_, value)| value.clone()).chain(steps.iter().flat_map(sets)).collect();
    loop {
        let before = secret.len();
        for (name, value) in all.iter().filter_map(Value::as_mapping).flatten() {
            if let Some(name) = name.as_str()
                && shown("vars", value, &secret).is_some()
            {
                secret.insert(name.to_owned());
            }
        }
        if secret.len() == before {
            return secret;
        }
    }
}
