//! What `aegir role check` looks for beyond what keeps a role out of the catalog: Jinja that does not parse, roles that an
//! attempt does not have, secrets where other users of a machine can read them, facts as variables, and hosts that a project
//! reaches in its own way.

mod exposed;
mod facts;
mod inspected_role;
mod jinja;
mod playbook;
mod reach;
mod roles;
mod steps;

use std::path::PathBuf;

pub(crate) use inspected_role::InspectedRole;
pub use inspected_role::RoleFindings;

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
    report.problems.extend(reach::loops(&steps));
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

#[cfg(test)]
mod tests;
