//! The commands: each asks relayd, and prints the answer.

mod actions;
mod backends;
mod check;
mod dead;
mod documents;
mod log;
mod operations;
mod role;
mod run;
mod runner;
mod system;

use std::path::Path;
use std::process::ExitCode;

use aegir_protocol::id::OperationId;
use aegir_protocol::state::State;
use aegir_service::exit::Exit;

use crate::arguments::{Cli, Command, RunnerArguments, RunnerCommand};
use crate::client::Client;
use crate::error::Error;
use crate::follow::{FollowOutput, Start, follow};
use crate::follow_output::{JsonOutput, TextOutput};
use crate::render::Look;

/// What every command has.
struct Context {
    client: Client,
    look: Look,
    json: bool,
}

/// Does what was asked for.
///
/// # Errors
/// When it can't be done; the error says why, and has an exit code.
pub async fn run(arguments: Cli) -> Result<ExitCode, Error> {
    let Cli { connection, command } = arguments;
    // Those that ask relayd.
    let context = || {
        let client = Client::new(&connection)?;
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

/// What a program sees of an Operation that it follows.
#[derive(Debug)]
enum Form {
    /// A text for people.
    Text(Box<TextOutput>),
    /// The transcript's lines as they are.
    Lines,
    /// States and records, each as an object with one key.
    Tagged,
}

/// Follows an Operation to its end; the exit code is its outcome's.
async fn watch(context: &Context, id: OperationId, start: Start, form: Form) -> Result<ExitCode, Error> {
    let client = &context.client;
    let watching = async {
        match form {
            Form::Text(mut person) => {
                let summary = follow(client, id, start, person.as_mut()).await?;
                person.end(&summary)?;
                Ok(summary)
            }
            Form::Lines => follow(client, id, start, &mut JsonOutput::lines()).await,
            Form::Tagged => {
                let mut program = JsonOutput::tagged();
                let summary = follow(client, id, start, &mut program).await?;
                program.pause()?;
                Ok(summary)
            }
        }
    };
    tokio::select! {
        summary = watching => Ok(exit_of(summary?.state).into()),
        signal = tokio::signal::ctrl_c() => {
            signal?;
            eprintln!("\nNo longer watching. The Operation goes on: `aegir log -f {id}` watches it again, `aegir cancel {id}` calls it off.");
            // 128 + SIGINT, as a shell says it.
            Ok(ExitCode::from(130))
        }
    }
}

/// The exit code that stands for a state; one that is no end counts as success, for nothing went wrong.
fn exit_of(state: State) -> Exit {
    state.outcome().map_or(Exit::Success, Exit::from)
}

fn read_file(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::file(path, error.to_string()))
}
