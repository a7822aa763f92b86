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
    states: PathBuf,
    /// What the files of all attempts at this target begin with.
    prefix: String,
    state: PathBuf,
    rescued: PathBuf,
}

/// What the files of all attempts end with.
const SUFFIX: &str = ".tfstate";

impl Rescued {
    pub(super) fn of(options: &Options, workspace: &str, task: &Task) -> Self {
        let input = &task.input;
        let prefix = format!("{workspace}.errored-");
        let name = format!("{prefix}{}-{}{SUFFIX}", input.operation, input.attempt);
        Self(options.state_directory.as_ref().map(|states| Files {
            states: states.clone(),
            prefix,
            state: states.join(workspace).join("terraform.tfstate"),
            rescued: states.join(name),
        }))
    }

    /// Refuses to go on while such a state lies here: what it knows of would be made again.
    pub(super) fn refuse_if_there(&self) -> Result<(), Error> {
        let Some(files) = &self.0 else { return Ok(()) };
        match files.left()? {
            Some(left) => Err(Error::LookFirst(format!(
                "an earlier attempt could not write the state. What it made is known only to {}, and would be made again, so \
                 nothing was done. {}",
                left.display(),
                files.advice(&left)
            ))),
            None => Ok(()),
        }
    }

    /// Moves the state there, or else tries once more to write it, and gives the error back with what came of it.
    pub(super) fn bring_to_safety(&self, program: &Program, lock: &str, failed: Error) -> Error {
        let left = program.directory.join(ERRORED);
        if !left.is_file() {
            return failed;
        }
        let failed = chain(&failed);
        match &self.0 {
            Some(files) => match move_to(&left, &files.rescued) {
                Ok(()) => Error::LookFirst(format!(
                    "{failed}. The state could not be written; what it would be is in {}, and nothing more is done for this \
                     target while that is there. {}",
                    files.rescued.display(),
                    files.advice(&files.rescued)
                )),
                Err(error) => lost(&failed, &left, &error),
            },
            None => match program.show(&["state", "push", lock, ERRORED], None) {
                Ok(()) => {
                    // It holds secrets, and is where it belongs.
                    let _ = fs::remove_file(&left);
                    Error::Refused(format!(
                        "{failed}. The state could not be written at first, but was afterwards"
                    ))
                }
                Err(error) => lost(&failed, &left, &error),
            },
        }
    }
}

impl Files {
    /// One that an attempt at this target has left.
    fn left(&self) -> Result<Option<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.states) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::file(&self.states))?,
        };
        for entry in entries {
            let name = entry.map_err(Error::file(&self.states))?.file_name();
            let of_this_target = |name: &str| name.starts_with(&self.prefix) && name.ends_with(SUFFIX);
            if name.to_str().is_some_and(of_this_target) {
                return Ok(Some(self.states.join(name)));
            }
        }
        Ok(None)
    }

    /// What to do about one.
    fn advice(&self, left: &Path) -> String {
        let (left, state) = (left.display(), self.state.display());
        format!(
            "Look at it (`tofu show {left}`). Where what it says is there, make it the state: `install -D -m 600 {left} {state} && \
             rm {left}`. Otherwise remove it"
        )
    }
}

fn lost(failed: &str, left: &Path, error: &dyn std::error::Error) -> Error {
    Error::LookFirst(format!(
        "{failed}. THE STATE IS ABOUT TO BE LOST: it could not be written, and is only in {} until the working directory is removed. \
         Copy it from there and `state push` it, or else find what was made by hand ({})",
        left.display(),
        chain(error)
    ))
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
