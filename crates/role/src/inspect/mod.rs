//! What `aegir role check` looks for beyond what keeps a role out of the catalog: Jinja that does not parse, roles that an
//! attempt does not have, secrets where other users of a machine can read them, facts as variables, and hosts that a project
//! reaches in its own way.

mod exposed;
mod facts;
mod jinja;
mod playbook;
mod reach;
mod roles;
mod steps;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegir_protocol::manifest::Manifest;
use aegir_protocol::name::RoleName;

/// A role that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InspectedRole<'a> {
    pub(crate) name: &'a RoleName,
    pub(crate) path: &'a Path,
    /// With what it has from the roles that it builds on.
    pub(crate) manifest: &'a Manifest,
    /// These roles.
    pub(crate) uses: &'a BTreeSet<RoleName>,
}

/// What is found, in sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleFindings {
    /// What is wrong with the role.
    pub problems: Vec<String>,
    /// What its reader should know beside that.
    pub notes: Vec<String>,
}

/// Looks at a role's files.
pub(crate) fn inspect(subject: InspectedRole<'_>, content: &[PathBuf]) -> RoleFindings {
    let steps = steps::of_role(subject.path);
    let variables = steps::variables(subject.path, ["defaults", "vars"]);
    let mut report = RoleFindings::default();
    match jinja::check(subject.path, &steps, &variables) {
        Ok(problems) => report.problems = problems,
        Err(why) => report.notes.push(why.to_string()),
    }
    report.problems.extend(roles::check(subject, &steps));
    report.problems.extend(exposed::check(subject, &steps, &variables));
    report.problems.extend(facts::check(subject.path, &steps, &variables));
    for (task, declared) in &subject.manifest.tasks {
        let playbook = declared.ansible.as_ref().and_then(|ansible| ansible.playbook.as_deref());
        if let Some(playbook) = playbook {
            let RoleFindings { problems, notes } = playbook::inspect(subject, task, playbook, content);
            report.problems.extend(problems);
            report.notes.extend(notes);
        }
    }
    report
}

/// The files with the source of a template.
fn templates(role: &Path) -> Vec<PathBuf> {
    crate::undeclared::files_below(role, Path::new("templates"))
}

#[cfg(test)]
mod tests;
