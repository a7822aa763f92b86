//! `aegir role`.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use aegir_role::MANIFEST;
use aegir_service::exit::Exit;

use crate::arguments::RoleCommand;
use crate::error::Error;
use crate::terminal::print;

pub(super) fn role(command: &RoleCommand) -> Result<ExitCode, Error> {
    match command {
        RoleCommand::Check { roles, beside } => check(roles, beside),
        RoleCommand::New { name, directory } => {
            let role = aegir_role::new(name, directory)
                .map_err(|error| Error::file(&directory.join(name.as_str()), error.to_string()))?;
            let shown = role.display();
            let text = format!(
                "{shown} is a role. See what it can do in {shown}/{MANIFEST}, look at it with `aegir role check \
                 {shown}`, and run its tests with {shown}/tests/run.\n"
            );
            print(text.as_bytes())?;
            Ok(Exit::Success.into())
        }
    }
}

fn check(roles: &[PathBuf], beside: &[PathBuf]) -> Result<ExitCode, Error> {
    let mut text = String::new();
    let mut wrong = 0;
    for role in roles {
        let mut problems = aegir_role::check(role, beside);
        problems.extend(lint(role)?);
        wrong += problems.len();
        for problem in &problems {
            let _ = writeln!(text, "{}: {problem}", role.display());
        }
        if problems.is_empty() {
            let _ = writeln!(text, "{}: good", role.display());
        }
    }
    print(text.as_bytes())?;
    Ok(if wrong == 0 { Exit::Success } else { Exit::Failed }.into())
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
    let said = String::from_utf8_lossy(&output.stdout);
    let said: Vec<_> = said.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if said.is_empty() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Ok(vec![format!("ansible-lint: {}: {}", output.status, errors.trim())]);
    }
    Ok(said)
}
