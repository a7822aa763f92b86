//! `aegir cancel`, `aegir retry` and `aegir lost`.

use std::process::ExitCode;

use aegir_api::{ActionRequest, OperationSummary, RetryRequest};
use aegir_protocol::id::OperationId;
use serde::Serialize;

use super::context::Context;
use crate::arguments::{ActionArguments, LostArguments, RetryArguments};
use crate::error::Error;
use crate::render::operation::cancellation;
use crate::resolve::resolve;
use crate::terminal::confirm;

pub(super) async fn cancel(context: &Context, arguments: &ActionArguments) -> Result<ExitCode, Error> {
    let id = resolve(&context.client, &arguments.id).await?;
    act(context, id, "cancel", arguments, |summary| match summary.state.outcome() {
        Some(_) => format!("Operation {id} is {}.\n", summary.state),
        None => {
            let canceling = cancellation(summary).unwrap_or_else(|| "Cancellation requested".to_owned());
            format!("{canceling}. Watch Operation {id} with `aegir log -f {id}`.\n")
        }
    })
    .await
}

pub(super) async fn retry(context: &Context, arguments: &RetryArguments) -> Result<ExitCode, Error> {
    let RetryArguments { action: ActionArguments { id, requested_by }, from_start } = arguments;
    let id = resolve(&context.client, id).await?;
    let body = RetryRequest { requested_by: requested_by.clone(), from_start: *from_start };
    ask(context, id, "retry", &body, |summary| {
        format!(
            "Operation {id}: attempt {} is {}. Watch it with `aegir log -f {id}`.\n",
            summary.attempt, summary.state
        )
    })
    .await
}

pub(super) async fn lost(context: &Context, arguments: &LostArguments) -> Result<ExitCode, Error> {
    let id = resolve(&context.client, &arguments.action.id).await?;
    if !arguments.yes {
        let detail = context.client.operation(id).await?;
        let node = detail.attempts.last().and_then(|attempt| attempt.node.as_ref());
        let node = node.map_or("its node".to_owned(), |node| format!("node {node}"));
        let question = format!(
            "Attempt {} of {} of {} {} is on {node}. If anything of it still runs there or on its minions, a \
             new attempt may run at the same time (see `aegir lost --help`). Give the attempt up?",
            detail.summary.attempt,
            detail.summary.name,
            detail.summary.target.kind,
            detail.summary.target.name
        );
        confirm(&question)?;
    }
    act(context, id, "lost", &arguments.action, |summary| {
        format!("Operation {id} is {}. Try it again with `aegir retry {id}`.\n", summary.state)
    })
    .await
}

async fn act(
    context: &Context,
    id: OperationId,
    action: &str,
    arguments: &ActionArguments,
    text: impl FnOnce(&OperationSummary) -> String,
) -> Result<ExitCode, Error> {
    let body = ActionRequest { requested_by: arguments.requested_by.clone() };
    ask(context, id, action, &body, text).await
}

async fn ask(
    context: &Context,
    id: OperationId,
    action: &str,
    body: &(impl Serialize + Sync),
    text: impl FnOnce(&OperationSummary) -> String,
) -> Result<ExitCode, Error> {
    let path = format!("/api/v1/operations/{id}/{action}");
    let summary: OperationSummary = context.client.post(&path, body).await?;
    context.show(&summary, || text(&summary))
}
