//! `aegir run`.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use aegir_api::{ApproveRequest, CatalogList, OperationDetail, OperationSummary};
use aegir_catalog::Catalog;
use aegir_client::follow::Start;
use aegir_client::{Client, ClientError};
use aegir_protocol::id::OperationId;
use aegir_protocol::name::{BackendName, Kind, OperationName, TargetName};
use aegir_protocol::operation::Host;
use aegir_protocol::request::{Accepted, Request};
use aegir_service::exit::Exit;
use serde_json::json;

use super::context::{Context, Form, read_file, watch};
use crate::arguments::{ActionArguments, ApproveArguments, RunArguments};
use crate::error::Error;
use crate::follow_output::TextOutput;
use crate::render::log::Wanted;
use crate::request::request;
use crate::resolve::resolve;
use crate::terminal::{confirm, print_json, print_text};

/// How often a request is sent before giving up. It is the same request each time: it has a key.
const TRIES: u32 = 3;
/// The pause between two.
const PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn run(context: &Context, arguments: &RunArguments) -> Result<ExitCode, Error> {
    let request = request(arguments, &read_file)?;
    if !(arguments.yes || request.dry_run) {
        let about = about(&request.target.kind, &request.target.name, &request.hosts);
        ask(context, request.backend.as_ref(), &request.name, &about).await?;
    }
    // A key of our own makes it safe to send the request again when the answer did not arrive.
    let key = arguments.key.clone().unwrap_or_else(|| OperationId::generate().to_string());
    let accepted = submit(&context.client, &request, &key).await?;
    let asked = format!("{} of {} {}", request.name, request.target.kind, request.target.name);
    told(context, &accepted, &asked, arguments.follow).await
}

pub(super) async fn approve(context: &Context, arguments: &ApproveArguments) -> Result<ExitCode, Error> {
    let ApproveArguments { action: ActionArguments { id, requested_by }, plan, follow, .. } = arguments;
    let id = resolve(&context.client, id).await?;
    let OperationDetail { summary, hosts, .. } = context.client.operation(id).await?;
    let OperationSummary { name, target, backend, .. } = summary;
    if !arguments.yes {
        ask(context, Some(&backend), &name, &about(&target.kind, &target.name, &hosts)).await?;
    }
    let body = ApproveRequest { requested_by: requested_by.clone(), plan: plan.clone() };
    let path = format!("/api/v1/operations/{id}/approve");
    let accepted = context.client.post(&path, &body).await?;
    let asked = format!("{name} of {} {}, as planned by Operation {id},", target.kind, target.name);
    told(context, &accepted, &asked, *follow).await
}

/// `site example.test on web1`.
fn about(kind: &Kind, name: &TargetName, hosts: &[Host]) -> String {
    let hosts: Vec<_> = hosts.iter().map(|host| host.name.as_str()).collect();
    let on = if hosts.is_empty() { String::new() } else { format!(" on {}", hosts.join(", ")) };
    format!("{kind} {name}{on}")
}

/// Says what became of a request, and watches it where that was asked for.
async fn told(context: &Context, accepted: &Accepted, asked: &str, follow: bool) -> Result<ExitCode, Error> {
    let id = accepted.id;
    if context.json {
        if follow { print_json(&json!({ "accepted": accepted }))? } else { print_json(accepted)? }
    } else if follow {
        eprintln!("Operation {id}");
    } else if context.look.terminal {
        let again = if accepted.repeated { " (requested before with this key)" } else { "" };
        let state = accepted.state;
        let text =
            format!("Operation {id}{again}: {asked} is {state}.\nWatch it with `aegir log -f {id}`.\n");
        print_text(&text)?;
    } else {
        print_text(&format!("{id}\n"))?;
    }
    if !follow {
        return Ok(Exit::Success.into());
    }
    let form = if context.json {
        Form::Tagged
    } else {
        Form::Text(Box::new(TextOutput::new(context.look.clone(), Wanted::default())))
    };
    watch(context, id, Start::default(), form).await
}

/// Asks what the Operation's role wants confirmed, where somebody is there.
async fn ask(
    context: &Context,
    backend: Option<&BackendName>,
    name: &OperationName,
    about: &str,
) -> Result<(), Error> {
    if !(context.look.terminal && io::stdin().is_terminal()) {
        return Ok(());
    }
    let list: CatalogList = context.client.get("/api/v1/catalog").await?;
    let meant = |catalog: &&Arc<Catalog>| backend.is_none_or(|backend| *backend == catalog.backend);
    let operations = list.catalogs.iter().filter(meant).filter_map(|catalog| catalog.find(name).ok());
    match operations.filter_map(|(_, operation)| operation.confirm.as_deref()).next() {
        Some(question) => confirm(&format!("{name} of {about}: {question}")),
        None => Ok(()),
    }
}

async fn submit(client: &Client, request: &Request, key: &str) -> Result<Accepted, Error> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match client.submit(request, Some(key)).await {
            // Nobody there is an answer; a connection that broke on the way is none.
            Err(ClientError::Unreachable { connected: true, .. }) if left > 0 => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return Ok(answer?),
        }
    }
}
