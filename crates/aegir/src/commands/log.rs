//! `aegir log`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use aegir_api::{CatalogList, OperationDetail, OperationSummary};
use aegir_client::download::{Bytes, Sink};
use aegir_client::follow::Start;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::record::{Header, Record, Stream};
use aegir_service::exit::Exit;

use super::context::{Context, Form, watch};
use crate::arguments::LogArguments;
use crate::error::Error;
use crate::follow_output::TextOutput;
use crate::render::log::Wanted;
use crate::resolve::resolve;
use crate::terminal::print;

pub(super) async fn log(context: &Context, arguments: &LogArguments) -> Result<ExitCode, Error> {
    let id = resolve(&context.client, &arguments.id).await?;
    if let Some(stream) = arguments.output {
        return output(context, id, arguments, stream.into()).await;
    }
    let as_lines = arguments.raw || context.json;
    let wanted = Wanted { task: arguments.task, all: arguments.all };
    let mut person = TextOutput::new(context.look.clone(), wanted);
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
    let mut records =
        Records { id, attempt, tail: arguments.tail, next: None, rest: Vec::new(), raw: as_lines, person };
    context.client.download(&mut records).await?;
    if as_lines {
        print(&records.rest)?;
    } else {
        end(records.person, &detail, attempt)?;
    }
    Ok(Exit::Success.into())
}

/// The records of an attempt, whole ones only, in constant space.
struct Records {
    id: OperationId,
    attempt: Attempt,
    /// Only the last so many.
    tail: Option<u64>,
    /// The number of the one behind the last that was taken.
    next: Option<u64>,
    /// The beginning of one.
    rest: Vec<u8>,
    /// Whether they are shown as they are.
    raw: bool,
    person: TextOutput,
}

impl Sink for Records {
    type Error = Error;

    fn path(&self) -> String {
        let from = self.next.map(|next| format!("&from={next}"));
        let from = from.or_else(|| self.tail.map(|records| format!("&tail={records}"))).unwrap_or_default();
        format!("/api/v1/operations/{}/transcript?attempt={}{from}", self.id, self.attempt)
    }

    fn take(&mut self, piece: &[u8]) -> Result<bool, Error> {
        self.rest.extend_from_slice(piece);
        let Some(last) = self.rest.iter().rposition(|&byte| byte == b'\n') else { return Ok(false) };
        let rest = self.rest.split_off(last + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        let mut lines = whole.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        // A record is a line, and they are numbered from 1.
        let before = self.next.or(self.tail.is_none().then_some(1));
        let counted = before.map(|before| before + lines.clone().count() as u64);
        let said = lines.clone().next_back().and_then(|line| Header::read(line).ok());
        self.next = said.map(|last| last.seq + 1).or(counted);
        if self.raw {
            print(&whole)?;
        } else {
            lines.try_for_each(|line| self.person.record(self.attempt.get(), line))?;
            self.person.pause()?;
        }
        Ok(true)
    }

    fn broke_off(&mut self) {
        self.rest.clear();
    }
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
    let mut first = Vec::new();
    let keep = |piece: &[u8]| {
        first.extend_from_slice(piece);
        Ok::<_, Error>(())
    };
    context.client.download(&mut Bytes::new(path, keep)).await?;
    first.truncate(first.trim_ascii_end().len());
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
    arguments: &LogArguments,
    stream: Stream,
) -> Result<ExitCode, Error> {
    // The one of now, whatever another attempt that begins meanwhile prints: what is asked for again must be the same.
    let attempt = match arguments.attempt.and_then(Attempt::new) {
        Some(attempt) => attempt,
        None => context.client.operation(id).await?.summary.attempt,
    };
    let mut query = vec![format!("stream={}", stream.as_str()), format!("attempt={attempt}")];
    query.extend(arguments.task.map(|task| format!("task={task}")));
    let path = format!("/api/v1/operations/{id}/output?{}", query.join("&"));
    context.client.download(&mut Bytes::new(path, print)).await?;
    Ok(Exit::Success.into())
}

/// What is to be said behind the last record.
fn end(mut person: TextOutput, detail: &OperationDetail, attempt: Attempt) -> Result<(), Error> {
    let summary = &detail.summary;
    if attempt < summary.attempt {
        return match detail.attempts.iter().find(|tried| tried.attempt == attempt) {
            Some(tried) => person.over(tried),
            None => person.stop(),
        };
    }
    if summary.state.outcome().is_none() {
        person.stop()?;
        eprintln!("The Operation is still {}. Watch it with `aegir log -f {}`.", summary.state, summary.id);
        return Ok(());
    }
    person.end(summary)
}
