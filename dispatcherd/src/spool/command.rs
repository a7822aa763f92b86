//! `dispatcherd spool ls|export|forget`.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use aegir_attempt::AttemptDirectory;
use aegir_attempt::lock::alive;
use aegir_protocol::id::AttemptId;
use aegir_service::terminal::one_line;
use clap::Subcommand;

use crate::journal::{Journal, SpoolState};
use crate::operator::{OperatorError, answered, daemon};

/// What is asked for.
#[derive(Debug, Subcommand)]
pub enum SpoolCommand {
    /// List what lies here and relayd has not received
    Ls,
    /// Write a transcript's bytes, as far as there are any, to standard output or a file
    Export {
        /// The Operation's id, or its start, and where there are several the attempt: ID/ATTEMPT
        attempt: String,
        /// The file, which must not exist
        #[arg(short, long)]
        output: Option<PathBuf>,
    },
    /// Let go of a transcript that relayd has not received. It is gone then, and relayd is told that it is
    Forget {
        /// The Operation's id, or its start, and where there are several the attempt: ID/ATTEMPT
        attempt: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Carries it out.
///
/// # Errors
/// When the journal can't be used, nothing or too much has that name, or nobody agrees.
pub fn run(command: SpoolCommand, state: &Path, output: &mut impl Write) -> Result<(), OperatorError> {
    let journal = Journal::at(state);
    match command {
        SpoolCommand::Ls => list(&journal, output),
        SpoolCommand::Export { attempt, output: file } => {
            let (_, directory) = find(&journal, &attempt)?;
            export(&directory, file.as_deref(), output)
        }
        SpoolCommand::Forget { attempt, yes } => {
            let (attempt, directory) = find(&journal, &attempt)?;
            forget(state, attempt, &directory, yes, output)
        }
    }
}

fn shown(error: io::Error) -> OperatorError {
    OperatorError::file("write", Path::new("standard output"))(error)
}

fn list(journal: &Journal, output: &mut impl Write) -> Result<(), OperatorError> {
    let found = journal.not_over()?;
    if found.is_empty() {
        return writeln!(output, "relayd has received everything.").map_err(shown);
    }
    writeln!(output, "{:<38}  {:>12}  {:<10}  WHY", "ATTEMPT", "BYTES", "STATE").map_err(shown)?;
    for (attempt, directory) in found {
        let spool_state = SpoolState::of(&directory)?;
        let (bytes, attempt) = (bytes(&directory), attempt.to_string());
        writeln!(
            output,
            "{attempt:<38}  {bytes:>12}  {:<10}  {}",
            spool_state.word(),
            one_line(&spool_state.why())
        )
        .map_err(shown)?;
    }
    output.flush().map_err(shown)
}

fn bytes(directory: &AttemptDirectory) -> u64 {
    std::fs::metadata(directory.transcript()).map_or(0, |metadata| metadata.len())
}

/// The attempt whose id, and number if that is given, begins so.
fn find(journal: &Journal, name: &str) -> Result<(AttemptId, AttemptDirectory), OperatorError> {
    let named = |attempt: &AttemptId| {
        let full = attempt.to_string();
        if name.contains('/') { full == name } else { full.starts_with(name) }
    };
    let mut found: Vec<_> = journal.not_over()?.into_iter().filter(|(attempt, _)| named(attempt)).collect();
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(OperatorError::NotFound(name.to_owned())),
        _ => Err(OperatorError::Ambiguous {
            name: name.to_owned(),
            found: found.iter().map(|(attempt, _)| attempt.to_string()).collect(),
        }),
    }
}

fn export(
    directory: &AttemptDirectory,
    file: Option<&Path>,
    output: &mut impl Write,
) -> Result<(), OperatorError> {
    let path = directory.transcript();
    let mut transcript = File::open(&path).map_err(OperatorError::file("read", &path))?;
    match file {
        Some(file) => {
            let mut copy = File::create_new(file).map_err(OperatorError::file("create", file))?;
            io::copy(&mut transcript, &mut copy).map_err(OperatorError::file("write", file))?;
            copy.sync_all().map_err(OperatorError::file("write", file))
        }
        None => io::copy(&mut transcript, output).and_then(|_| output.flush()).map_err(shown),
    }
}

fn forget(
    state: &Path,
    attempt: AttemptId,
    directory: &AttemptDirectory,
    yes: bool,
    output: &mut impl Write,
) -> Result<(), OperatorError> {
    let lock = directory.lock();
    if alive(directory).map_err(OperatorError::file("read", &lock))? {
        return Err(OperatorError::Running(attempt.to_string()));
    }
    let spool_state = SpoolState::of(directory)?;
    if spool_state == SpoolState::Waiting {
        return Err(OperatorError::NotStarted(attempt.to_string()));
    }
    if !yes {
        consent(attempt, directory, &spool_state, output)?;
    }
    let path = directory.forget();
    // Empty, so that it finds room on a full disk.
    File::create(&path).map_err(OperatorError::file("create", &path))?;
    if daemon(state)?.is_some() {
        let done = || Ok((directory.tombstone().exists() || directory.report().exists()).then_some(()));
        answered(done)?.ok_or(OperatorError::NoAnswer("removed it"))?;
        return writeln!(output, "{attempt} is removed.").map_err(shown);
    }
    // The bytes go at once: the disk may be too full for dispatcherd to start.
    let transcript = directory.transcript();
    File::options()
        .write(true)
        .open(&transcript)
        .and_then(|file| file.set_len(0))
        .map_err(OperatorError::file("empty", &transcript))?;
    writeln!(output, "{attempt} is removed; dispatcherd informs relayd when it starts.").map_err(shown)
}

fn consent(
    attempt: AttemptId,
    directory: &AttemptDirectory,
    spool_state: &SpoolState,
    output: &mut impl Write,
) -> Result<(), OperatorError> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(OperatorError::NoConsent);
    }
    write!(
        output,
        "The transcript of {attempt} has {} bytes and is {}: {}.\nThis deletes what relayd has not received of it; an \
         Operation that has not ended becomes `lost`.\nContinue? Type yes: ",
        bytes(directory),
        spool_state.word(),
        spool_state.why(),
    )
    .and_then(|()| output.flush())
    .map_err(shown)?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer).map_err(OperatorError::file("read", Path::new("standard input")))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(OperatorError::Declined) }
}
