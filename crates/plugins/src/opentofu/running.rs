//! Whether a program is at work, for who asks after it was stopped.

use std::fs;
use std::path::PathBuf;

use super::settings::{OpentofuOptions, OpentofuSettings};
use super::tool::workspace;
use crate::error::Error;
use crate::interrupt;
use crate::program::Ran;
use crate::task::Task;

/// A note in the state directory from before the program changes something until it has ended by itself.
#[derive(Debug)]
pub(super) struct Running {
    note: Option<PathBuf>,
    /// Which attempt writes it.
    who: String,
}

impl Running {
    pub(super) fn of(
        options: &OpentofuOptions,
        settings: &OpentofuSettings,
        task: &Task,
    ) -> Result<Self, Error> {
        let input = &task.input;
        let note = options.state_directory.as_ref().map(|states| -> Result<PathBuf, Error> {
            if !states.is_absolute() {
                return Err(Error::Refused("--state-directory must be an absolute path".to_owned()));
            }
            fs::create_dir_all(states).map_err(Error::file(states))?;
            Ok(states.join(format!("{}.running", workspace(input, settings))))
        });
        Ok(Self { note: note.transpose()?, who: format!("{} {}", input.operation, input.attempt) })
    }

    pub(super) fn begin(&self) -> Result<(), Error> {
        self.note.as_ref().map_or(Ok(()), |note| fs::write(note, &self.who).map_err(Error::file(note)))
    }

    /// The program has ended: by itself where it has an exit code and nobody insisted.
    pub(super) fn end(&self, applied: &Result<Ran, Error>) -> Result<(), Error> {
        let by_itself = match applied {
            Ok(ran) => ran.status.code().is_some() && !interrupt::canceled_twice(),
            // It was not started.
            Err(Error::Missing { .. } | Error::Start { .. } | Error::Interrupted) => true,
            Err(_) => false,
        };
        match &self.note {
            Some(note) if by_itself => fs::remove_file(note).map_err(Error::file(note)),
            Some(_) | None => Ok(()),
        }
    }

    /// Nothing goes on where the program ended by itself: it waits for its providers. One that was killed can't tell what a
    /// provider's API had been asked for.
    pub(super) fn look(&self) -> Result<(), Error> {
        let unknown = "a provider's API may go on with what it was asked for";
        let Some(note) = &self.note else {
            return Err(Error::GoesOn(format!(
                "{unknown}: without --state-directory nothing is noted about it"
            )));
        };
        match fs::read_to_string(note) {
            Ok(who) if who == self.who => Err(Error::GoesOn(format!(
                "the program was killed at work, and {unknown}: look at the next plan"
            ))),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(Error::File { path: note.clone(), source: error }),
        }
    }
}
