//! `aegir log`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use aegir_protocol::api::{CatalogList, OperationDetail, OperationSummary};
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::record::{Header, Record, Stream};
use aegir_service::exit::Exit;
use reqwest::{Method, Response};

use super::{Context, Form, watch};
use crate::arguments::Log;
use crate::client::chain;
use crate::error::Error;
use crate::follow::{News, Start, Watcher};
use crate::render::log::Wanted;
use crate::terminal::print;
use crate::watch::Person;

pub(super) async fn log(context: &Context, arguments: &Log) -> Result<ExitCode, Error> {
    let id = context.client.resolve(&arguments.id).await?;
    if let Some(stream) = arguments.output {
        return output(context, id, arguments, stream.into()).await;
    }
    let as_lines = arguments.raw || context.json;
    let wanted = Wanted { task: arguments.task, all: arguments.all };
    let mut person = Person::new(context.look.clone(), wanted);
    if arguments.follow && (as_lines || arguments.tail.is_none()) {
        let start = Start { attempt: arguments.attempt, tail: arguments.tail };
        let form = if as_lines { Form::Lines } else { Form::Text(Box::new(person)) };
        return watch(context, id, start, form).await;
    }
    let detail = context.client.operation(id).await?;
    let attempt = arguments.attempt.and_then(Attempt::new).unwrap_or(detail.summary.attempt);
    if arguments.tail.is_some() && !as_lines {
        let (first, ansible) = beginning(context, &detail, attempt).await?;
        person = person.joining(attempt.get(), &first, ansible);
    }
    if arguments.follow {
        let start = Start { attempt: arguments.attempt, tail: arguments.tail };
        return watch(context, id, start, Form::Text(Box::new(person))).await;
    }
    let mut query = vec![format!("attempt={attempt}")];
    query.extend(arguments.tail.map(|records| format!("tail={records}")));
    let path = format!("/api/v1/operations/{id}/transcript?{}", query.join("&"));
    let response = context.client.send(context.client.request(Method::GET, &path)).await?;
    if as_lines {
        copy(response).await?;
    } else {
        text(person, response, &detail, attempt).await?;
    }
    Ok(Exit::Success.into())
}

/// A transcript's first record, and which of its Tasks are ansible-playbook's, as far as the catalog still has the role
/// that ran: for who looks at the end alone, where nothing says so.
async fn beginning(
    context: &Context,
    detail: &OperationDetail,
    attempt: Attempt,
) -> Result<(Vec<u8>, BTreeSet<u32>), Error> {
    let OperationSummary { id, name, backend, .. } = &detail.summary;
    let path = format!("/api/v1/operations/{id}/transcript?attempt={attempt}&from=1&limit=1");
    let response = context.client.send(context.client.request(Method::GET, &path)).await?;
    let bytes = response.bytes().await.map_err(|error| Error::BrokeOff(chain(&error)))?;
    let first = bytes.trim_ascii_end().to_vec();
    let list: CatalogList = context.client.get("/api/v1/catalog").await?;
    let role = list.catalogs.iter().find(|catalog| catalog.backend == *backend);
    let role = role.and_then(|catalog| catalog.roles.get(&name.role));
    let started = Header::read(&first).ok().and_then(|header| header.record().ok().flatten());
    let (Some(role), Some(Record::Started(started))) = (role, started) else {
        return Ok((first, BTreeSet::new()));
    };
    let same = started.digest.as_ref().is_none_or(|digest| *digest == role.digest);
    let tasks = (1..).zip(&started.tasks).filter(|(_, task)| {
        let manifest = role.manifest.tasks.get(&task.name);
        same && manifest.is_some_and(|manifest| manifest.shell.is_none() && manifest.plugin.is_none())
    });
    Ok((first, tasks.map(|(number, _)| number).collect()))
}

/// What the children printed, byte for byte.
async fn output(
    context: &Context,
    id: OperationId,
    arguments: &Log,
    stream: Stream,
) -> Result<ExitCode, Error> {
    let mut query = vec![format!("stream={}", stream.as_str())];
    query.extend(arguments.attempt.map(|attempt| format!("attempt={attempt}")));
    query.extend(arguments.task.map(|task| format!("task={task}")));
    let path = format!("/api/v1/operations/{id}/output?{}", query.join("&"));
    let response = context.client.send(context.client.request(Method::GET, &path)).await?;
    copy(response).await?;
    Ok(Exit::Success.into())
}

async fn copy(mut response: Response) -> Result<(), Error> {
    while let Some(bytes) = chunk(&mut response).await? {
        print(&bytes)?;
    }
    Ok(())
}

async fn chunk(response: &mut Response) -> Result<Option<Vec<u8>>, Error> {
    let chunk = response.chunk().await.map_err(|error| Error::BrokeOff(chain(&error)))?;
    Ok(chunk.map(Vec::from))
}

/// The records as a text, in constant space.
async fn text(
    mut person: Person,
    mut response: Response,
    detail: &OperationDetail,
    attempt: Attempt,
) -> Result<(), Error> {
    let mut rest: Vec<u8> = Vec::new();
    while let Some(bytes) = chunk(&mut response).await? {
        rest.extend_from_slice(&bytes);
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in rest[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            person.news(News::Record { attempt: attempt.get(), line })?;
        }
        rest.drain(..whole);
        person.pause()?;
    }
    let summary = &detail.summary;
    if attempt < summary.attempt {
        return match detail.attempts.iter().find(|tried| tried.attempt == attempt) {
            Some(tried) => person.over(tried),
            None => person.stop(),
        };
    }
    if summary.state.outcome().is_none() {
        person.stop()?;
        eprintln!("The Operation is {}. Watch it with `aegir log -f {}`.", summary.state, summary.id);
        return Ok(());
    }
    person.end(summary)
}
