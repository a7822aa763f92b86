//! A state that the program could not write where it belongs. It is all that knows what was made, and the working directory
//! where the program leaves it is removed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::Options;
use crate::error::{Error, chain};
use crate::program::Program;
use crate::task::Task;

/// Where the program leaves it.
const ERRORED: &str = "errored.tfstate";

/// Where such a state goes.
#[derive(Debug)]
pub(super) struct Rescued(Option<Files>);

/// Beside the target's state, where that is kept in files here.
#[derive(Debug)]
struct Files {
    state: PathBuf,
    rescued: PathBuf,
}

impl Rescued {
    pub(super) fn of(options: &Options, workspace: &str, task: &Task) -> Self {
        let input = &task.input;
        let name = format!("{workspace}.errored-{}-{}.tfstate", input.operation, input.attempt);
        Self(options.state_directory.as_ref().map(|states| Files {
            state: states.join(workspace).join("terraform.tfstate"),
            rescued: states.join(name),
        }))
    }

    /// Moves the state there, or else tries once more to write it, and gives the error back with what came of it.
    pub(super) fn bring_to_safety(&self, program: &Program, lock: &str, failed: Error) -> Error {
        let left = program.directory.join(ERRORED);
        if !left.is_file() {
            return failed;
        }
        let came = match &self.0 {
            Some(Files { state, rescued }) => match move_to(&left, rescued) {
                Ok(()) => format!(
                    "The state could not be written; what it would be is in {}. The next plan would make all that again: \
                     before it, move that file to {}",
                    rescued.display(),
                    state.display()
                ),
                Err(error) => lost(&left, &error),
            },
            None => match program.show(&["state", "push", lock, ERRORED], None) {
                Ok(()) => {
                    // It holds secrets, and is where it belongs.
                    let _ = fs::remove_file(&left);
                    "The state could not be written at first, but was afterwards".to_owned()
                }
                Err(error) => lost(&left, &error),
            },
        };
        Error::Refused(format!("{}. {came}", chain(&failed)))
    }
}

fn lost(left: &Path, error: &dyn std::error::Error) -> String {
    format!(
        "THE STATE IS ABOUT TO BE LOST: it could not be written, and is only in {} until the working directory is removed. \
         Copy it from there and `state push` it, or else find what was made by hand ({})",
        left.display(),
        chain(error)
    )
}

/// The two may lie on different file systems. It holds secrets.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    let state = fs::read(from)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    if let Err(error) = file.write_all(&state).and_then(|()| file.sync_all()) {
        // Half of a state is none, and looks like one.
        let _ = fs::remove_file(to);
        return Err(error);
    }
    fs::remove_file(from)
}
