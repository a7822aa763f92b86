//! `aegir role`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use aegir_role::{MANIFEST, RoleFindings};
use aegir_service::exit::Exit;

use crate::arguments::RoleCommand;
use crate::error::Error;
use crate::terminal::print_text;

/// What ansible-lint ends with when it has found something, and nothing went wrong beside that.
const FINDINGS: i32 = 2;

pub(super) fn role(command: &RoleCommand) -> Result<ExitCode, Error> {
    match command {
        RoleCommand::Check { roles, beside, content } => check(roles, beside, content),
        RoleCommand::New { name, directory } => {
            let role = aegir_role::new(name, directory)
                .map_err(|error| Error::file(&directory.join(name.as_str()), error.to_string()))?;
            let shown = role.display();
            let text = format!(
                "Created the role {shown}. Its manifest is {shown}/{MANIFEST}. Check the role with `aegir role check \
                 {shown}`; run its tests with {shown}/tests/run.\n"
            );
            print_text(&text)?;
            Ok(Exit::Success.into())
        }
    }
}

fn check(roles: &[PathBuf], beside: &[PathBuf], content: &[PathBuf]) -> Result<ExitCode, Error> {
    let mut text = String::new();
    let mut wrong = 0;
    let each: Vec<_> = roles.iter().flat_map(|given| meant(given)).collect();
    for role in &each {
        let RoleFindings { mut problems, notes } = aegir_role::report(role, beside, content);
        problems.extend(lint(role)?);
        wrong += problems.len();
        for problem in &problems {
            let _ = writeln!(text, "{}: {problem}", role.display());
        }
        if problems.is_empty() {
            let _ = writeln!(text, "{}: good", role.display());
        }
        for note in &notes {
            let _ = writeln!(text, "{}: note: {note}", role.display());
        }
    }
    print_text(&text)?;
    Ok(if wrong == 0 { Exit::Success } else { Exit::Failed }.into())
}

/// The role in a directory, or where there is none, those in the directories below.
fn meant(given: &Path) -> Vec<PathBuf> {
    let below = || aegir_role::roles_in(given).ok().filter(|roles| !roles.is_empty());
    let is_role = given.join(MANIFEST).is_file();
    (!is_role).then(below).flatten().unwrap_or_else(|| vec![given.to_owned()])
}

/// What ansible-lint says of a role, a line each; nothing where it is not installed.
fn lint(role: &Path) -> Result<Vec<String>, Error> {
    if !role.is_dir() {
        return Ok(Vec::new());
    }
    let output = Command::new("ansible-lint")
        .args(["--offline", "--nocolor", "--format", "pep8", "."])
        // From elsewhere older ones don't see that it is a role.
        .current_dir(role)
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        output => output.map_err(|error| Error::file(Path::new("ansible-lint"), error.to_string()))?,
    };
    if output.status.success() {
        return Ok(Vec::new());
    }
    let (outside, said): (Vec<_>, Vec<_>) = findings(&String::from_utf8_lossy(&output.stdout))
        .into_iter()
        .partition(|finding| is_outside(finding));
    if said.is_empty() && !outside.is_empty() && output.status.code() == Some(FINDINGS) {
        return Ok(Vec::new());
    }
    if said.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Ok(vec![format!("ansible-lint: {}: {}", output.status, errors.trim())]);
    }
    Ok(said)
}

/// What ansible-lint has found, a line each: some of its messages have several, of which the first is `FILE:LINE: …`.
fn findings(text: &str) -> Vec<String> {
    let mut findings: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let begins = line.split(':').nth(1).is_some_and(|number| number.parse::<u32>().is_ok());
        match findings.last_mut().filter(|_| !begins) {
            Some(finding) => finding.extend([" ", line]),
            None => findings.push(line.to_owned()),
        }
    }
    findings
}

/// Whether a finding is about a file of somebody else: one that the role's own import, such as those of a role beside it.
fn is_outside(finding: &str) -> bool {
    finding.starts_with("../") || finding.starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ansible_lint_says_of_other_files_is_left_out() {
        let said = "../base/tasks/a.yml:31: jinja[invalid]: templating '{{ x if y\n\n   else z }}': no test: y\n\
                    tasks/b.yml:3: name[missing]: All tasks should be named.\n";
        let found = findings(said);
        assert_eq!(
            found[0],
            "../base/tasks/a.yml:31: jinja[invalid]: templating '{{ x if y else z }}': no test: y"
        );
        assert_eq!(found.iter().map(|finding| is_outside(finding)).collect::<Vec<_>>(), [true, false]);
        assert!(is_outside("../php_site/tasks/install.yml:3: name[missing]: All tasks should be named."));
        assert!(is_outside("/etc/ansible/roles/other/tasks/main.yml:1: yaml[truthy]: …"));
        assert!(!is_outside("tasks/install.yml:3: name[missing]: All tasks should be named."));
    }

    #[test]
    fn a_directory_of_roles_means_each_of_them() {
        let directory = tempfile::tempdir().unwrap();
        for role in ["b", "a"] {
            std::fs::create_dir_all(directory.path().join(role).join("meta")).unwrap();
            std::fs::write(directory.path().join(role).join(MANIFEST), "").unwrap();
        }
        std::fs::create_dir(directory.path().join("c")).unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        assert_eq!(meant(directory.path()), [a.clone(), b]);
        assert_eq!(meant(&a), [a]);
        let none = directory.path().join("c");
        assert_eq!(meant(&none), [none]);
    }
}
