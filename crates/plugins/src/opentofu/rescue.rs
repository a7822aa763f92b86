//! A state that the program could not write where it belongs. It is all that knows what was made, and the working directory
//! where the program leaves it is removed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::settings::OpentofuOptions;
use crate::error::{Error, chain};
use crate::program::Program;
use crate::task::Task;

/// Where the program leaves it.
const ERRORED: &str = "errored.tfstate";
/// Where it goes, in the home directory of dispatcherd's user, where states are not kept in files here.
const AT_HOME: &str = ".aegir-runner";
/// What the files of all attempts end with.
const SUFFIX: &str = ".tfstate";

/// Where such a state goes.
#[derive(Debug)]
pub(super) struct Rescued {
    directory: PathBuf,
    /// What the files of all attempts at this target begin with.
    prefix: String,
    file: PathBuf,
    workspace: String,
    /// The target's state, where that is a file here.
    state: Option<PathBuf>,
}

impl Rescued {
    pub(super) fn of(options: &OpentofuOptions, workspace: String, task: &Task) -> Self {
        let input = &task.input;
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(AT_HOME);
        let directory = options.state_directory.clone().unwrap_or_else(home);
        let prefix = format!("{workspace}.errored-");
        let file = directory.join(format!("{prefix}{}-{}{SUFFIX}", input.operation, input.attempt));
        let of_workspace = |states: &PathBuf| states.join(&workspace).join("terraform.tfstate");
        let state = options.state_directory.as_ref().map(of_workspace);
        Self { directory, prefix, file, workspace, state }
    }

    /// Refuses to go on while such a state lies here: what it knows of would be made again.
    pub(super) fn refuse_if_there(&self) -> Result<(), Error> {
        let Some(left) = self.left()? else { return Ok(()) };
        Err(Error::LookFirst(format!(
            "an earlier attempt could not write the state. What it made is known only to {}, and would be made again, so \
             nothing was done. {}",
            left.display(),
            self.advice(&left)
        )))
    }

    /// One that an attempt at this target has left.
    fn left(&self) -> Result<Option<PathBuf>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(Error::file(&self.directory))?,
        };
        for entry in entries {
            let name = entry.map_err(Error::file(&self.directory))?.file_name();
            let of_this_target = |name: &str| name.starts_with(&self.prefix) && name.ends_with(SUFFIX);
            if name.to_str().is_some_and(of_this_target) {
                return Ok(Some(self.directory.join(name)));
            }
        }
        Ok(None)
    }

    /// Where states are not kept here, tries once more to write it; otherwise, or where that fails too, moves it to a place
    /// that stays. Gives the error back with what came of it.
    pub(super) fn bring_to_safety(&self, program: &Program, lock: &str, failed: Error) -> Error {
        let left = program.directory.join(ERRORED);
        if !left.is_file() {
            return failed;
        }
        let failed = chain(&failed);
        if self.state.is_none() && program.show(&["state", "push", lock, ERRORED], None).is_ok() {
            // It holds secrets, and is where it belongs.
            let _ = fs::remove_file(&left);
            return Error::Refused(format!(
                "{failed}. The state could not be written at first, but was afterwards"
            ));
        }
        Error::LookFirst(match self.keep(&left) {
            Ok(()) => format!(
                "{failed}. The state could not be written; what it would be is in {}, and nothing more is done for this \
                 target on this node while that is there. {}",
                self.file.display(),
                self.advice(&self.file)
            ),
            Err(error) => format!(
                "{failed}. THE STATE IS LOST: it could not be written, nor kept in {} ({error}). Find what was made by hand",
                self.file.display()
            ),
        })
    }

    /// Moves it. The two may lie on different file systems. It holds secrets.
    fn keep(&self, from: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let state = fs::read(from)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.file)?;
        if let Err(error) = file.write_all(&state).and_then(|()| file.sync_all()) {
            // Half of a state is none, and looks like one.
            let _ = fs::remove_file(&self.file);
            return Err(error);
        }
        // It goes with the working directory in any case.
        let _ = fs::remove_file(from);
        Ok(())
    }

    /// What to do about one.
    fn advice(&self, left: &Path) -> String {
        let left = left.display();
        let write = match &self.state {
            Some(state) => {
                format!("make it the state: `install -D -m 600 {left} {} && rm {left}`", state.display())
            }
            None => format!(
                "write it, in the role's configuration after `tofu init`: `TF_WORKSPACE={} tofu state push {left} && rm {left}`",
                self.workspace
            ),
        };
        format!("Look at it (`tofu show {left}`). Where what it says is there, {write}. Otherwise remove it")
    }
}
