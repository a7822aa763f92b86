//! `dispatcherd drain`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use aegir_attempt::lock::alive;
use aegir_protocol::id::AttemptId;
use clap::Args;

use super::files::{answer, read, wanted, wish};
use crate::journal::Journal;
use crate::operator::{OperatorError, answered, daemon};

/// How often `--wait` looks.
const LOOK: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Clone, Copy, Debug, Args)]
pub struct DrainArguments {
    /// Take Operations again
    #[arg(long, conflicts_with = "wait")]
    undo: bool,
    /// Return only when nothing runs any more
    #[arg(long)]
    wait: bool,
}

/// What a node that drains is still about to do.
struct Left {
    running: Vec<AttemptId>,
    claiming: Vec<AttemptId>,
    waiting: Vec<AttemptId>,
}

/// Carries it out.
///
/// # Errors
/// When the state directory can't be used, or the daemon does not answer.
pub fn run(arguments: DrainArguments, state: &Path, output: &mut impl Write) -> Result<(), OperatorError> {
    if arguments.undo {
        return undo(state, output);
    }
    if !wanted(state) {
        let path = wish(state);
        File::create(&path).map_err(OperatorError::file("create", &path))?;
    }
    let mut shown = None;
    loop {
        let left = left(state)?;
        let counts = (left.running.len(), left.claiming.len());
        if shown != Some(counts) {
            show(&left, output).map_err(OperatorError::file("write", Path::new("standard output")))?;
            shown = Some(counts);
        }
        if !arguments.wait || counts == (0, 0) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

fn undo(state: &Path, output: &mut impl Write) -> Result<(), OperatorError> {
    let path = wish(state);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(OperatorError::file("remove", &path)(error));
        }
        Ok(()) | Err(_) => {}
    }
    if daemon(state)?.is_some() {
        let taken_back = || Ok((!answer(state).exists()).then_some(()));
        answered(taken_back)?.ok_or(OperatorError::NoAnswer("taken it back"))?;
    }
    writeln!(output, "This node takes Operations.")
        .map_err(OperatorError::file("write", Path::new("standard output")))
}

/// Asks the daemon, or looks at the journal where none runs: runners go on without it, and nothing is claimed.
fn left(state: &Path) -> Result<Left, OperatorError> {
    let path = answer(state);
    let said = answered(|| {
        let Some(process) = daemon(state)? else { return Ok(Some(None)) };
        let said = read(state).map_err(OperatorError::file("read", &path))?;
        Ok(said.filter(|said| said.process == process).map(Some))
    })?;
    match said {
        None => Err(OperatorError::NoAnswer("said what is still running")),
        Some(Some(said)) => {
            Ok(Left { running: said.running, claiming: said.claiming, waiting: said.waiting })
        }
        Some(None) => {
            let mut left = Left { running: Vec::new(), claiming: Vec::new(), waiting: Vec::new() };
            for (attempt, directory) in Journal::at(state).not_over()? {
                if alive(&directory).map_err(OperatorError::file("read", &directory.lock()))? {
                    left.running.push(attempt);
                } else if !directory.transcript().exists() && !directory.report().exists() {
                    left.waiting.push(attempt);
                }
            }
            Ok(left)
        }
    }
}

fn show(left: &Left, output: &mut impl Write) -> io::Result<()> {
    let running = left.running.len() + left.claiming.len();
    if running == 0 {
        writeln!(output, "This node drains, and nothing runs.")?;
    } else {
        writeln!(output, "This node drains; {running} still running:")?;
    }
    for attempt in &left.running {
        writeln!(output, "  {attempt}")?;
    }
    for attempt in &left.claiming {
        writeln!(output, "  {attempt} (was claimed before; it starts if relayd grants it)")?;
    }
    if !left.waiting.is_empty() {
        writeln!(
            output,
            "{} more wait here and do not start; other nodes of the backend may take them.",
            left.waiting.len()
        )?;
    }
    output.flush()
}
