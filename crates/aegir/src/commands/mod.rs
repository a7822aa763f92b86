//! The commands: each asks relayd, and prints the answer.

mod actions;
mod backends;
mod check;
mod context;
mod dead;
mod documents;
mod log;
mod operations;
mod role;
mod run;
mod runner;
mod system;

use std::process::ExitCode;

use aegir_client::{Client, ClientError};

use crate::arguments::{Cli, Command, Connection, RunnerArguments, RunnerCommand};
use crate::error::Error;
use context::Context;

/// Does what was asked for.
///
/// # Errors
/// When it can't be done; the error says why, and has an exit code.
pub async fn run(arguments: Cli) -> Result<ExitCode, Error> {
    let Cli { connection, command } = arguments;
    // Those that ask relayd.
    let context = || {
        let client = client(&connection)?;
        Ok::<_, Error>(Context { client, look: crate::terminal::look(), json: connection.json })
    };
    match command {
        Command::Run(arguments) => run::run(&context()?, &arguments).await,
        Command::Ls(arguments) => operations::list(&context()?, &arguments).await,
        Command::Show(arguments) => operations::show(&context()?, &arguments).await,
        Command::Cancel(arguments) => actions::cancel(&context()?, &arguments).await,
        Command::Retry(arguments) => actions::retry(&context()?, &arguments).await,
        Command::Approve(arguments) => run::approve(&context()?, &arguments).await,
        Command::Lost(arguments) => actions::lost(&context()?, &arguments).await,
        Command::Pause(arguments) => backends::pause(&context()?, &arguments).await,
        Command::Resume { backend } => backends::resume(&context()?, &backend).await,
        Command::Backends => backends::list(&context()?).await,
        Command::Log(arguments) => log::log(&context()?, &arguments).await,
        Command::Check(arguments) => check::check(&context()?, &arguments).await,
        Command::Catalog(arguments) => system::catalog(&context()?, &arguments).await,
        Command::Documents(arguments) => documents::documents(&context()?, &arguments).await,
        Command::Nodes => system::nodes(&context()?).await,
        Command::Dead(arguments) => dead::dead(&context()?, &arguments.command).await,
        Command::SignIn => system::sign_in(&context()?).await,
        Command::Role(arguments) => role::role(&arguments.command),
        Command::Runner(RunnerArguments { command: RunnerCommand::Check(arguments) }) => {
            runner::check(&arguments)
        }
        Command::Completions { shell } => system::completions(shell),
    }
}

/// Reads the token; connects to nothing yet.
fn client(connection: &Connection) -> Result<Client, Error> {
    let path = &connection.token_file;
    let token =
        std::fs::read_to_string(path).map_err(|source| Error::Token { path: path.clone(), source })?;
    Client::new(connection.url.clone(), Some(token.trim())).map_err(|error| match error {
        ClientError::Token => Error::file(path, error.to_string()),
        error => error.into(),
    })
}
