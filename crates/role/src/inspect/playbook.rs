//! A playbook of the operator's own: what is wrong with it, and what of it does not count here.

use std::path::{Path, PathBuf};

use aegir_protocol::name::TaskName;

use super::inspected_role::{InspectedRole, RoleFindings};
use super::reach::{self, LOGIN};
use super::steps::{self, YamlStep};
use super::{exposed, jinja};
use crate::project::{ConfigKey, ProjectConfig};

/// What an `ansible.cfg` may say otherwise than what holds here: keys, the values that say the same, and why.
const HELD: [(&[ConfigKey], &[&str], &str); 8] = [
    (
        &[("defaults", "host_key_checking"), ("ssh_connection", "host_key_checking")],
        &["true", "yes", "on", "1"],
        "host keys are always checked",
    ),
    (&[("defaults", "log_path")], &[], "Ansible writes no log of its own, which would hold secrets"),
    (&[("defaults", "no_target_syslog")], &["true", "yes", "on", "1"], "modules log nothing on minions"),
    (&[("defaults", "keep_remote_files")], &["false", "no", "off", "0"], "nothing is kept on minions"),
    (&[("defaults", "ask_pass"), ("defaults", "ask_vault_pass")], &["false", "no", "off", "0"], ASKED),
    (&[("privilege_escalation", "become_ask_pass")], &["false", "no", "off", "0"], ASKED),
    (
        &[("defaults", "transport")],
        &["ssh", "smart"],
        "it is ssh, unless a play or a step names a connection",
    ),
    (&reach::CONFIG, &[], LOGIN),
];
const ASKED: &str = "nobody is there to answer";
/// Looks at the playbook of a task.
pub(super) fn inspect(
    subject: InspectedRole<'_>,
    task: &TaskName,
    playbook: &str,
    content: &[PathBuf],
) -> RoleFindings {
    let mut report = RoleFindings::default();
    let Some(found) = find(playbook, content) else {
        let why = if content.is_empty() {
            "was not looked at: name its content root with --content DIRECTORY".to_owned()
        } else {
            format!("is not below {}", shown(content))
        };
        report.notes.push(format!("tasks.{task}: the playbook {playbook} {why}"));
        return report;
    };
    let directory = found.parent().unwrap_or(Path::new("/"));
    let Some(file) = found.file_name() else { return report };
    let steps = steps::of_playbook(directory, Path::new(file));
    let variables = steps::variables(directory, ["group_vars", "host_vars"]);
    match jinja::check(directory, &steps, &variables) {
        Ok(problems) => report.problems = problems,
        Err(why) => report.notes.push(why.to_string()),
    }
    report.problems.extend(exposed::check(subject, &steps, &variables));
    report.problems.extend(reach::loops(&steps));
    report.notes.extend(steps.iter().flat_map(different));
    let config = ProjectConfig::of(&found, content);
    report.notes.extend(reach::notes(directory, &steps, &config));
    for (keys, same, why) in HELD {
        for key in keys {
            let said = config.says(&[*key]).filter(|said| !same.contains(&said.to_lowercase().as_str()));
            let file = config.file.as_deref().unwrap_or(Path::new("ansible.cfg"));
            report.notes.extend(
                said.map(|said| format!("{}: {} = {said} does not count here: {why}", file.display(), key.1)),
            );
        }
    }
    let below = |problem: String| format!("{}/{problem}", directory.display());
    report.problems = report.problems.into_iter().map(below).collect();
    report
}

/// What of a play or step does not count.
fn different(step: &YamlStep) -> Vec<String> {
    let has = |key: &str| step.keys.iter().any(|(name, _)| name == key);
    let mut notes = Vec::new();
    if has("remote_user") {
        notes.push(format!("{}: remote_user does not count here: {LOGIN}", step.place()));
    }
    if has("vars_prompt") {
        notes.push(format!("{}: vars_prompt takes its default here: {ASKED}", step.place()));
    }
    let mut reads_environment = false;
    for (key, value) in &step.keys {
        crate::undeclared::expressions(key, value, &mut |text| {
            let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
            let names = ["'env'", "\"env\"", "'ansible.builtin.env'", "\"ansible.builtin.env\""];
            reads_environment |= names.iter().any(|name| text.contains(&format!("({name},")));
        });
    }
    if reads_environment {
        notes.push(format!(
            "{}: lookup('env') finds nothing of dispatcherd's own environment here: give the Task a variable",
            step.place()
        ));
    }
    notes
}

fn find(playbook: &str, content: &[PathBuf]) -> Option<PathBuf> {
    let absolute = Path::new(playbook).is_absolute().then(|| PathBuf::from(playbook));
    let below = content.iter().map(|root| root.join(playbook));
    absolute.into_iter().chain(below).find_map(|path| path.canonicalize().ok().filter(|path| path.is_file()))
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
