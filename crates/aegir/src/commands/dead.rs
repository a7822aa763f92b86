//! `aegir dead ls`, `show`, `replay` and `drop`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use aegir_api::{DeadLetter, DeadLetterDetail, DeadLetterList};
use aegir_client::ClientError;
use aegir_client::address::with_query;
use aegir_service::exit::Exit;
use serde_json::json;

use super::context::Context;
use crate::arguments::{DeadChoice, DeadCommand, DeadDrop, DeadFilter, DeadLs, DeadShow};
use crate::error::Error;
use crate::render::dead;
use crate::terminal::{print, print_json, print_text, remark};

/// How many letters are listed at a time when all are wanted.
const PAGE: u32 = 500;

pub(super) async fn dead(context: &Context, command: &DeadCommand) -> Result<ExitCode, Error> {
    match command {
        DeadCommand::Ls(arguments) => list(context, arguments).await,
        DeadCommand::Show(arguments) => show(context, arguments).await,
        DeadCommand::Replay(choice) => replay(context, choice).await,
        DeadCommand::Drop(arguments) => remove(context, arguments).await,
    }
}

async fn list(context: &Context, arguments: &DeadLs) -> Result<ExitCode, Error> {
    let list = page(context, &arguments.filter, arguments.limit, None).await?;
    context.show(&list, || dead::list(&context.look, &list))
}

async fn page(
    context: &Context,
    filter: &DeadFilter,
    limit: u32,
    before: Option<u64>,
) -> Result<DeadLetterList, Error> {
    let mut query = vec![("limit", limit.to_string())];
    query.extend(filter.code.clone().map(|code| ("code", code)));
    query.extend(filter.queue.clone().map(|queue| ("queue", queue)));
    query.extend(before.map(|before| ("before", before.to_string())));
    Ok(context.client.get(&with_query("/api/v1/dead", &query)).await?)
}

async fn show(context: &Context, arguments: &DeadShow) -> Result<ExitCode, Error> {
    let path = format!("/api/v1/dead/{}", arguments.id);
    let detail: DeadLetterDetail = context.client.get(&path).await?;
    if context.json {
        print_json(&detail)?;
        return Ok(Exit::Success.into());
    }
    let unclear =
        |error: &dyn std::fmt::Display| ClientError::Answer { what: path, message: error.to_string() };
    let body = detail.bytes().map_err(|error| unclear(&error))?;
    if arguments.raw {
        print(&body)?;
    } else {
        print_text(&dead::detail(&context.look, &detail.letter, &body))?;
    }
    Ok(Exit::Success.into())
}

/// The letters that are meant, oldest first: as they came, so that a replay keeps their order.
async fn chosen(context: &Context, choice: &DeadChoice) -> Result<Vec<u64>, Error> {
    if !choice.all {
        if choice.filter.code.is_some() || choice.filter.queue.is_some() {
            return Err(Error::Usage("--code and --queue go with --all, not with numbers".to_owned()));
        }
        return Ok(choice.ids.clone());
    }
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let list = page(context, &choice.filter, PAGE, before).await?;
        ids.extend(list.letters.iter().map(|letter| letter.id));
        before = list.next;
        if before.is_none() {
            ids.reverse();
            return Ok(ids);
        }
    }
}

async fn replay(context: &Context, choice: &DeadChoice) -> Result<ExitCode, Error> {
    let mut outcomes = Outcomes::default();
    for id in chosen(context, choice).await? {
        let path = format!("/api/v1/dead/{id}/replay");
        let replayed = context.client.post::<DeadLetter>(&path, &json!({})).await;
        outcomes.add(id, replayed.map(drop))?;
    }
    outcomes.end(context, "replayed")
}

async fn remove(context: &Context, arguments: &DeadDrop) -> Result<ExitCode, Error> {
    let ids = chosen(context, &arguments.choice).await?;
    if !ids.is_empty() && !arguments.yes && !agreed(ids.len())? {
        eprintln!("Nothing was dropped.");
        return Ok(Exit::Canceled.into());
    }
    let mut outcomes = Outcomes::default();
    for id in ids {
        let removed = context.client.delete(&format!("/api/v1/dead/{id}")).await;
        outcomes.add(id, removed)?;
    }
    outcomes.end(context, "dropped")
}

/// Asks the person at the terminal. Where there is none, nobody can agree.
fn agreed(count: usize) -> Result<bool, Error> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        let letters = if count == 1 { "a dead letter".to_owned() } else { format!("{count} dead letters") };
        return Err(Error::Usage(format!(
            "dropping {letters} needs a confirmation, and there is no terminal: add --yes"
        )));
    }
    eprint!(
        "This deletes {count} dead {} for good. Continue? [y/N] ",
        if count == 1 { "letter" } else { "letters" }
    );
    io::stderr().flush()?;
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// What became of each letter.
#[derive(Debug, Default)]
struct Outcomes {
    done: Vec<u64>,
    refused: Vec<(u64, Error)>,
}

impl Outcomes {
    /// A refusal concerns one letter; anything else would meet the next one too.
    fn add(&mut self, id: u64, outcome: Result<(), ClientError>) -> Result<(), Error> {
        match outcome.map_err(Error::from) {
            Ok(()) => self.done.push(id),
            Err(error) if matches!(error.exit(), Exit::NotFound | Exit::Conflict) => {
                self.refused.push((id, error));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Says it. The exit code is that of the first refusal.
    fn end(self, context: &Context, word: &str) -> Result<ExitCode, Error> {
        if context.json {
            let refused = self.refused.iter().map(|(id, error)| json!({"id": id, "error": error.document()}));
            print_json(&json!({word: self.done, "refused": refused.collect::<Vec<_>>()}))?;
        } else {
            let letters = if self.done.len() == 1 { "dead letter" } else { "dead letters" };
            print_text(&format!("{} {letters} {word}.\n", self.done.len()))?;
            for (_, error) in &self.refused {
                remark(&format!("aegir: {error}"));
            }
        }
        Ok(self.refused.first().map_or(Exit::Success, |(_, error)| error.exit()).into())
    }
}
