//! Transcripts: as records, as bytes, and as what the children printed. All are streamed in pieces, however long
//! they are, and read from the store as fast as the client takes them.

use std::sync::Arc;

use aegir_api::{AttemptDetail, OperationDetail};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::record::{Header, InvalidRecord, Record, Stream};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream;

use crate::http::answer::{Answer, ProblemResponse};
use crate::http::extract::Id;
use crate::http::query::{self, FROM_ONE, FromQuery, Parameters, QueryParameters};
use crate::http::state::HttpState;
use crate::operations::Operations;

/// How much is read from the store at a time, in bytes.
const PIECE: usize = 256 * 1024;

/// The query of `GET …/transcript`.
pub(super) struct RecordsQuery {
    attempt: Option<Attempt>,
    /// The number of the first record.
    from: Option<u64>,
    /// How many records at most.
    limit: Option<u64>,
    /// Only so many from the end.
    tail: Option<u64>,
}

impl FromQuery for RecordsQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] =
        &[("attempt", FROM_ONE), ("from", FROM_ONE), ("limit", FROM_ONE), ("tail", "0 or more")];

    fn read(given: &QueryParameters) -> Answer<Self> {
        Ok(Self {
            attempt: given.attempt()?,
            from: given.at_least_one("from")?,
            limit: given.at_least_one("limit")?,
            tail: given.parsed("tail")?,
        })
    }
}

/// The query of `GET …/transcript/raw`.
pub(super) struct RawQuery {
    attempt: Option<Attempt>,
    /// The first byte.
    offset: Option<u64>,
}

impl FromQuery for RawQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] =
        &[("attempt", FROM_ONE), ("offset", "0 or more")];

    fn read(given: &QueryParameters) -> Answer<Self> {
        Ok(Self { attempt: given.attempt()?, offset: given.parsed("offset")? })
    }
}

/// The query of `GET …/output`.
pub(super) struct OutputQuery {
    attempt: Option<Attempt>,
    task: Option<u32>,
    stream: Option<Stream>,
}

impl FromQuery for OutputQuery {
    const PARAMETERS: &'static [(&'static str, &'static str)] = &[
        ("attempt", FROM_ONE),
        ("task", "the number of one of the attempt's Tasks"),
        ("stream", "stdout or stderr"),
    ];

    fn read(given: &QueryParameters) -> Answer<Self> {
        let stream =
            |text: &str| [Stream::Stdout, Stream::Stderr].into_iter().find(|stream| stream.as_str() == text);
        Ok(Self {
            attempt: given.attempt()?,
            task: given.get("task", |text| text.parse().ok().filter(|&task| task >= 1))?,
            stream: given.get("stream", stream)?,
        })
    }
}

/// Which attempt is meant, and what is stored of it.
fn chosen(detail: &OperationDetail, wanted: Option<Attempt>) -> Answer<(Attempt, Option<&AttemptDetail>)> {
    let attempt = wanted.unwrap_or(detail.summary.attempt);
    if attempt > detail.summary.attempt {
        let text = format!("there is no attempt {attempt} at Operation {}", detail.summary.id);
        return Err(ProblemResponse::new(Code::NoSuchAttempt, text));
    }
    Ok((attempt, detail.attempts.iter().find(|detail| detail.attempt == attempt)))
}

/// The headers that say of what the body is, and whether it is all of it.
fn answer(kind: &'static str, attempt: Attempt, stored: Option<&AttemptDetail>, body: Body) -> Response {
    let complete = stored.is_some_and(|stored| stored.transcript_complete);
    let headers = [
        ("aegir-attempt", attempt.to_string()),
        ("aegir-transcript-complete", complete.to_string()),
        ("cache-control", "no-store".to_owned()),
    ];
    ([(CONTENT_TYPE, kind)], headers, body).into_response()
}

/// `GET …/transcript`: the stored lines as they are.
pub(super) async fn records(
    State(site): State<HttpState>,
    Id(id): Id,
    Parameters(query): Parameters<RecordsQuery>,
) -> Answer<Response> {
    let detail = site.operations.detail(id).await?;
    let (attempt, stored) = chosen(&detail, query.attempt)?;
    let count = stored.map_or(0, |stored| stored.transcript_records);
    let first = match query.tail {
        Some(tail) => (count.saturating_sub(tail) + 1).max(query.from.unwrap_or(1)),
        None => query.from.unwrap_or(1).max(1),
    };
    let reader = Reader::new(&site.operations, id, attempt, first, query.limit.unwrap_or(u64::MAX));
    let body = if stored.is_some() { reader.body(Ok) } else { Body::empty() };
    Ok(answer("application/jsonl", attempt, stored, body))
}

/// `GET …/output`: what the children printed, rebuilt from the records.
pub(super) async fn output(
    State(site): State<HttpState>,
    Id(id): Id,
    Parameters(query): Parameters<OutputQuery>,
) -> Answer<Response> {
    let detail = site.operations.detail(id).await?;
    let (attempt, stored) = chosen(&detail, query.attempt)?;
    let (task, stream) = (query.task, query.stream);
    if let Some(task) = task
        && stored.is_some()
    {
        check_task(&site.operations, id, attempt, task).await?;
    }
    let reader = Reader::new(&site.operations, id, attempt, 1, u64::MAX);
    let body = if stored.is_some() {
        reader.body(move |lines| printed(&lines, task, stream))
    } else {
        Body::empty()
    };
    Ok(answer("application/octet-stream", attempt, stored, body))
}

/// Refuses a Task that the attempt does not have. Which it has is known once its first record is there.
async fn check_task(
    operations: &Arc<Operations>,
    id: OperationId,
    attempt: Attempt,
    task: u32,
) -> Answer<()> {
    let piece = operations.records(id, Some(attempt), 1, 1).await?;
    let line = piece.bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let Some(Record::Started(started)) = Header::read(line).ok().and_then(|header| header.record().ok()?)
    else {
        return Ok(());
    };
    let expected = match started.tasks.len() {
        0 => "nothing (the attempt has no Task)".to_owned(),
        1 => "1 (the attempt has one Task)".to_owned(),
        count => format!("1 to {count}"),
    };
    match usize::try_from(task) {
        Ok(task) if task <= started.tasks.len() => Ok(()),
        Ok(_) | Err(_) => Err(query::invalid("task", &task.to_string(), &expected)),
    }
}

/// The output in these records, of one Task or stream if they are given. Fails when one can't be read: bytes that
/// are missing in the middle would be worse than an answer that breaks off.
fn printed(lines: &[u8], task: Option<u32>, stream: Option<Stream>) -> Result<Bytes, InvalidRecord> {
    let mut bytes = BytesMut::new();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let header = Header::read(line)?;
        if header.kind != "output" {
            continue;
        }
        let Some(Record::Output(output)) = header.record()? else { continue };
        if task.is_none_or(|task| task == output.task) && stream.is_none_or(|stream| stream == output.stream)
        {
            bytes.extend_from_slice(&output.bytes()?);
        }
    }
    Ok(bytes.freeze())
}

/// Reads a transcript from a record on.
struct Reader {
    operations: Arc<Operations>,
    id: OperationId,
    attempt: Attempt,
    next: u64,
    left: u64,
}

impl Reader {
    fn new(operations: &Arc<Operations>, id: OperationId, attempt: Attempt, first: u64, limit: u64) -> Self {
        Self { operations: Arc::clone(operations), id, attempt, next: first, left: limit }
    }

    /// What `turn` makes of the records, as a body.
    fn body(self, turn: impl Fn(Bytes) -> Result<Bytes, InvalidRecord> + Send + 'static) -> Body {
        Body::from_stream(stream::try_unfold((self, turn), |(mut reader, turn)| async move {
            let Some(lines) = reader.piece().await? else { return Ok(None) };
            let bytes =
                turn(lines).map_err(|error| broke_off(reader.id, reader.attempt, error.to_string()))?;
            Ok::<_, std::io::Error>(Some((bytes, (reader, turn))))
        }))
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, std::io::Error> {
        if self.left == 0 {
            return Ok(None);
        }
        let read = self.operations.records(self.id, Some(self.attempt), self.next, PIECE).await;
        let piece = read.map_err(|problem| broke_off(self.id, self.attempt, problem.detail))?;
        let (length, records) = whole(&piece.bytes, self.left);
        if records == 0 {
            return Ok(None);
        }
        self.next += records;
        self.left -= records;
        Ok(Some(piece.bytes.slice(..length)))
    }
}

/// Ends an answer whose status is sent already: the connection is closed without the body's last chunk, which a
/// client notices as an error.
fn broke_off(id: OperationId, attempt: Attempt, error: String) -> std::io::Error {
    tracing::error!(operation_id = %id, attempt = attempt.get(), error, "a transcript that was being sent broke off");
    std::io::Error::other(error)
}

/// How many bytes the first records have, up to a limit, and how many those are.
fn whole(lines: &[u8], limit: u64) -> (usize, u64) {
    let mut records = 0;
    let mut length = 0;
    for line in lines.split_inclusive(|&byte| byte == b'\n').take_while(|line| line.ends_with(b"\n")) {
        if records == limit {
            break;
        }
        records += 1;
        length += line.len();
    }
    (length, records)
}

/// `GET …/transcript/raw`: the stored bytes.
pub(super) async fn raw(
    State(site): State<HttpState>,
    Id(id): Id,
    Parameters(query): Parameters<RawQuery>,
) -> Answer<Response> {
    let detail = site.operations.detail(id).await?;
    let (attempt, stored) = chosen(&detail, query.attempt)?;
    let operations = site.operations;
    let first = query.offset.unwrap_or(0);
    let body = match stored {
        None => Body::empty(),
        Some(_) => Body::from_stream(stream::try_unfold(first, move |offset| {
            let operations = Arc::clone(&operations);
            async move {
                let piece = operations.raw(id, Some(attempt), offset, PIECE).await;
                let bytes = piece.map_err(|problem| broke_off(id, attempt, problem.detail))?.bytes;
                let next = offset + bytes.len() as u64;
                Ok::<_, std::io::Error>((!bytes.is_empty()).then_some((bytes, next)))
            }
        })),
    };
    Ok(answer("application/octet-stream", attempt, stored, body))
}

#[cfg(test)]
mod tests {
    use aegir_protocol::record::Output;

    use super::*;

    #[test]
    fn output_is_rebuilt_and_can_be_chosen_from() {
        let line = |task, stream, bytes: &[u8]| {
            Record::Output(Output::new(task, stream, None, 1, false, bytes))
                .to_line(1, jiff::Timestamp::UNIX_EPOCH)
        };
        let lines = [
            line(1, Stream::Stdout, b"a\n\0\xff"),
            line(1, Stream::Stderr, b"b\n"),
            line(2, Stream::Stdout, b"c"),
            br#"{"seq":4,"at":"2026-01-01T00:00:00Z","kind":"new","body":{}}"#.to_vec(),
        ]
        .concat();
        let printed = |task, stream| printed(&lines, task, stream).unwrap();
        assert_eq!(&printed(None, None)[..], b"a\n\0\xffb\nc");
        assert_eq!(&printed(Some(1), Some(Stream::Stdout))[..], b"a\n\0\xff");
        assert_eq!(&printed(None, Some(Stream::Stderr))[..], b"b\n");
        assert!(super::printed(b"nonsense\n", None, None).is_err());
    }

    #[test]
    fn limits_count_whole_records() {
        assert_eq!(whole(b"a\nbb\nccc\n", 2), (5, 2));
        assert_eq!(whole(b"a\nbb\ntorn", 9), (5, 2));
        assert_eq!(whole(b"", 9), (0, 0));
    }
}
