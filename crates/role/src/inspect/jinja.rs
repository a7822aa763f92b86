//! Whether the templates of a role parse, as the Jinja of Ansible's own Python says.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use yaml_serde::Value;

use super::steps::YamlStep;

/// Reads templates, writes for each what is wrong with it.
const PROGRAM: &str = include_str!("jinja.py");
/// Keys of a step that are expressions without braces.
const CONDITIONS: [&str; 5] = ["when", "changed_when", "failed_when", "until", "break_when"];
/// Arguments of the module `template` that say how its file is written.
const MARKS: [&str; 6] = [
    "variable_start_string",
    "variable_end_string",
    "block_start_string",
    "block_end_string",
    "comment_start_string",
    "comment_end_string",
];

/// Nobody could look.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotChecked {
    /// No Python with Jinja.
    #[error(
        "its Jinja was not checked: no Python here has the module jinja2, which comes with Ansible; install that, or \
         check the role where it is"
    )]
    NoJinja,
    /// Something else.
    #[error("its Jinja was not checked: {0}")]
    Failed(String),
}

/// A text for Jinja.
pub(super) struct Template {
    place: String,
    text: String,
    form: &'static str,
    options: BTreeMap<String, String>,
}

impl Template {
    pub(super) fn new(place: &str, text: &str, form: &'static str) -> Self {
        Self { place: place.to_owned(), text: text.to_owned(), form, options: BTreeMap::new() }
    }
}

/// What does not parse, in sentences.
pub(super) fn check(
    role: &Path,
    steps: &[YamlStep],
    variables: &[(PathBuf, Value)],
) -> Result<Vec<String>, NotChecked> {
    let mut all = Vec::new();
    steps.iter().for_each(|step| of_step(step, &mut all));
    for (file, value) in variables {
        for (name, value) in value.as_mapping().into_iter().flatten() {
            let place = format!("{}: {}", file.display(), name.as_str().unwrap_or_default());
            texts(&place, value, "text", &mut all);
        }
    }
    of_files(role, steps, &mut all);
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = asked(&all, &pythons())?;
    let said = all.iter().zip(wrong).filter_map(|(template, wrong)| {
        let message = wrong.get("message")?.as_str()?;
        let line = wrong["line"].as_u64().filter(|_| template.form == "file");
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        Some(format!("{}{line}: this is no Jinja: {message}", template.place))
    });
    Ok(said.collect())
}

fn of_step(step: &YamlStep, into: &mut Vec<Template>) {
    for (key, value) in &step.keys {
        let place = format!("{}: {key}", step.place());
        match key.as_str() {
            "assert" | "debug" => {
                // Free-form arguments are a text.
                let Some(arguments) = value.as_mapping() else {
                    texts(&place, value, "text", into);
                    continue;
                };
                for (argument, value) in arguments {
                    let argument = argument.as_str().unwrap_or_default();
                    let form = if argument == "that" || argument == "var" { "expression" } else { "text" };
                    texts(&format!("{place}.{argument}"), value, form, into);
                }
            }
            "loop_control" => {
                let condition = value.get("break_when");
                condition.into_iter().for_each(|value| texts(&place, value, "expression", into));
            }
            key if CONDITIONS.contains(&key) => texts(&place, value, "expression", into),
            _ => texts(&place, value, "text", into),
        }
    }
}

fn texts(place: &str, value: &Value, form: &'static str, into: &mut Vec<Template>) {
    match value {
        Value::String(text) => {
            let is_one = form == "expression" || ["{{", "{%", "{#"].iter().any(|sign| text.contains(sign));
            if is_one && !text.trim().is_empty() {
                into.push(Template::new(place, text, form));
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| texts(place, item, form, into)),
        Value::Mapping(mapping) => mapping.iter().for_each(|(_, value)| texts(place, value, form, into)),
        // `!unsafe` and `!vault` are no templates.
        Value::Tagged(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The files that are templates as a whole: all that end in `.j2`, and others that a step names as one.
fn of_files(role: &Path, steps: &[YamlStep], into: &mut Vec<Template>) {
    let mut named: BTreeMap<PathBuf, BTreeMap<String, String>> = BTreeMap::new();
    for (key, value) in steps.iter().flat_map(|step| &step.keys) {
        let Some(source) = value.get("src").and_then(Value::as_str) else { continue };
        if key == "template" || key == "win_template" {
            let marks = MARKS
                .iter()
                .filter_map(|mark| Some(((*mark).to_owned(), value.get(*mark)?.as_str()?.to_owned())));
            named.insert(Path::new("templates").join(source), marks.collect());
        }
    }
    for file in super::inspected_role::templates(role) {
        let options = named.get(&file).cloned();
        let is_one = options.is_some() || file.extension().is_some_and(|extension| extension == "j2");
        if let Some(text) = is_one.then(|| std::fs::read_to_string(role.join(&file)).ok()).flatten() {
            let template = Template::new(&file.display().to_string(), &text, "file");
            into.push(Template { options: options.unwrap_or_default(), ..template });
        }
    }
}

/// What the first Python that has Jinja says of each.
pub(super) fn asked(templates: &[Template], pythons: &[PathBuf]) -> Result<Vec<Json>, NotChecked> {
    let input: Vec<_> = templates
        .iter()
        .map(|template| json!({ "text": template.text, "form": template.form, "options": template.options }))
        .collect();
    let input = Json::from(input).to_string();
    for python in pythons {
        match run(python, &input) {
            Ok(Some(said)) => return Ok(said),
            Ok(None) => {}
            Err(error) => return Err(NotChecked::Failed(format!("{}: {error}", python.display()))),
        }
    }
    Err(NotChecked::NoJinja)
}

/// Ansible's own first: another one may have another Jinja.
fn pythons() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = std::env::split_paths(&path).map(|directory| directory.join("ansible-playbook"));
    let text = programs.into_iter().find_map(|program| std::fs::read(program).ok()).unwrap_or_default();
    let first = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first).into_owned();
    let named = line.strip_prefix("#!").and_then(|line| line.split_whitespace().next());
    let own = named.filter(|program| program.contains("python")).map(PathBuf::from);
    own.into_iter().chain(["python3", "/usr/bin/python3"].map(PathBuf::from)).collect()
}

/// `None` when there is no such Python, or it has no Jinja.
fn run(python: &Path, input: &str) -> io::Result<Option<Vec<Json>>> {
    let started = Command::new(python)
        .args(["-c", PROGRAM])
        // Nothing that lies here is a module of it.
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match started {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        started => started?,
    };
    let mut stdin = child.stdin.take().ok_or_else(|| io::Error::other("it takes no input"))?;
    // All of it is read before the first byte of the answer is written. One that ends at once reads nothing.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Ok(None);
    }
    written?;
    Ok(serde_json::from_slice(&output.stdout).ok())
}
