//! What the commands have in common: relayd, the terminal, and following an Operation to its end.

use std::path::Path;
use std::process::ExitCode;

use aegir_client::Client;
use aegir_client::follow::Start;
use aegir_protocol::id::OperationId;
use aegir_protocol::state::State;
use aegir_service::exit::Exit;
use serde::Serialize;

use crate::error::Error;
use crate::follow_output::{JsonOutput, TextOutput, follow};
use crate::render::Look;
use crate::terminal::{print_json, print_text};

/// What every command has.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) look: Look,
    pub(super) json: bool,
}

impl Context {
    /// Prints what relayd has said: as it came, or as a text.
    pub(super) fn show(
        &self,
        said: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<ExitCode, Error> {
        if self.json {
            print_json(said)?;
        } else {
            print_text(&text())?;
        }
        Ok(Exit::Success.into())
    }
}

/// What a program sees of an Operation that it follows.
#[derive(Debug)]
pub(super) enum Form {
    /// A text for people.
    Text(Box<TextOutput>),
    /// The transcript's lines as they are.
    Lines,
    /// States and records, each as an object with one key.
    Tagged,
}

/// Follows an Operation to its end; the exit code is its outcome's.
pub(super) async fn watch(
    context: &Context,
    id: OperationId,
    start: Start,
    form: Form,
) -> Result<ExitCode, Error> {
    let client = &context.client;
    let watching = async {
        match form {
            Form::Text(mut person) => {
                let summary = follow(client, id, start, person.as_mut()).await?;
                person.end(&summary)?;
                Ok(summary)
            }
            Form::Lines => follow(client, id, start, &mut JsonOutput::lines()).await,
            Form::Tagged => follow(client, id, start, &mut JsonOutput::tagged()).await,
        }
    };
    tokio::select! {
        summary = watching => Ok(exit_of(summary?.state).into()),
        signal = tokio::signal::ctrl_c() => {
            signal?;
            eprintln!("\nStopped watching. The Operation keeps running. Watch it again with `aegir log -f {id}`; cancel it with `aegir cancel {id}`.");
            // 128 + SIGINT, as a shell says it.
            Ok(ExitCode::from(130))
        }
    }
}

/// The exit code that stands for a state; one that is no end counts as success, for nothing went wrong.
fn exit_of(state: State) -> Exit {
    state.outcome().map_or(Exit::Success, Exit::from)
}

pub(super) fn read_file(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::file(path, error.to_string()))
}
