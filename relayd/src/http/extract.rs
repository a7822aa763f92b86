//! Reading what a request brings, so that whatever is wrong with it becomes a problem that points at it.

use std::time::Duration;

use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::limits::MAX_MESSAGE;
use aegir_protocol::problem::{FieldProblem, Problem};
use aegir_protocol::read::{self, Misread, UnknownFields};
use axum::body::{BodyDataStream, Bytes, HttpBody as _};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer::ProblemResponse;

/// How much of a body that is too large is read and thrown away before it is refused, and for how long.
const DISCARDED: usize = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a body may take to arrive, and how long it may stop on its way.
const BODY: Duration = Duration::from_secs(60);
const SILENCE: Duration = Duration::from_secs(15);
/// How many bytes of bodies may be on their way at once: each counts as long as it says that it is, or as the longest.
/// Further ones wait. So slow clients cost no more than this, however many they are.
static BODY_BYTES: Semaphore = Semaphore::const_new(32 * MAX_MESSAGE);

/// A JSON body.
pub(super) struct Json<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ProblemResponse> {
        let bytes = body(request).await?;
        from_json(&bytes).map(Self).map_err(ProblemResponse)
    }
}

/// A JSON body that may be absent.
pub(super) struct OptionalJson<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ProblemResponse;

    async fn from_request(request: Request, _: &S) -> Result<Self, ProblemResponse> {
        let bytes = body(request).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        from_json(&bytes).map(Self).map_err(ProblemResponse)
    }
}

/// The whole body, if it is no larger than any message may be. A larger one is read to its end all the same, as far
/// as that is bearable: who is still sending when the connection closes does not get to read the answer.
pub(super) async fn body(request: Request) -> Result<Bytes, ProblemResponse> {
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // What has no body takes no room, whether it says so or not.
    let length = request.body().size_hint().exact().or(announced).unwrap_or(u64::MAX);
    let length = u32::try_from(length.min(MAX_MESSAGE as u64)).expect("a message's bound is no larger");
    let mut pieces = request.into_body().into_data_stream();
    let mut body = BytesMut::new();
    let mut too_much = announced.is_some_and(|length| length > MAX_MESSAGE as u64);
    let _room = timeout(BODY, BODY_BYTES.acquire_many(length))
        .await
        .map_err(|_| too_late("there was no room for the body: others are on their way, and slow"))?;
    let end = Instant::now() + BODY;
    while !too_much {
        let next = timeout_at(end.min(Instant::now() + SILENCE), pieces.next());
        let Some(piece) = next.await.map_err(|_| too_late("the body stopped on its way, or was too slow"))?
        else {
            break;
        };
        let piece = piece.map_err(|error| {
            ProblemResponse::new(Code::RequestMalformed, format!("the body did not arrive whole: {error}"))
        })?;
        too_much = body.len() + piece.len() > MAX_MESSAGE;
        if !too_much {
            body.extend_from_slice(&piece);
        }
    }
    if !too_much {
        return Ok(body.freeze());
    }
    let _ = tokio::time::timeout(PATIENCE, discard(&mut pieces)).await;
    Err(too_large())
}

async fn discard(pieces: &mut BodyDataStream) {
    let mut left = DISCARDED;
    while let Some(Ok(piece)) = pieces.next().await {
        match left.checked_sub(piece.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn too_late(why: &str) -> ProblemResponse {
    let detail = format!("{why}. It may take {BODY:?}, and stop for {SILENCE:?}: send the request again");
    ProblemResponse::new(Code::RequestTimeout, detail)
}

fn too_large() -> ProblemResponse {
    ProblemResponse::new(
        Code::BodyTooLarge,
        format!("the body is larger than the {MAX_MESSAGE} bytes that a request may have"),
    )
}

/// Reads JSON. What is not JSON is told apart from JSON that holds the wrong thing at a known place.
fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    read::from_json(bytes, UnknownFields::Refuse).map_err(|misread| {
        let Misread { line, column, message, .. } = &misread;
        if !misread.is_json {
            let detail = format!("the body is not JSON: {message} at line {line} column {column}");
            return Problem::new(Code::RequestMalformed, detail);
        }
        let mut problem =
            Problem::new(Code::RequestMalformed, format!("the body is not what is expected: {misread}"));
        problem.errors.push(FieldProblem::new(misread.pointer.as_str(), Code::RequestMalformed, message));
        problem
    })
}

/// The parts of a path. One that can't be the name of anything is a path at which there is nothing.
pub(super) struct InPath<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let path: Result<Path<T>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(path)| Self(path)).map_err(|error| {
            ProblemResponse::new(
                Code::NotFound,
                format!("there is nothing at this path: {}", error.body_text()),
            )
        })
    }
}

/// The id in a path. A text that is no id stands for no Operation.
pub(super) struct Id(pub(super) OperationId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let path: Result<Path<String>, PathRejection> = Path::from_request_parts(parts, state).await;
        let text = path.map(|Path(text)| text).unwrap_or_default();
        match text.parse() {
            Ok(id) => Ok(Self(id)),
            Err(error) => Err(ProblemResponse::new(
                Code::NoSuchOperation,
                format!("there is no such Operation: {error}"),
            )),
        }
    }
}

/// The number of a dead letter in a path.
pub(super) struct LetterId(pub(super) u64);

impl<S: Send + Sync> FromRequestParts<S> for LetterId {
    type Rejection = ProblemResponse;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProblemResponse> {
        let path: Result<Path<u64>, PathRejection> = Path::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| {
            ProblemResponse::new(Code::NoSuchDeadLetter, "there is no such dead letter: its id is a number")
        })
    }
}

#[cfg(test)]
mod tests {
    use aegir_protocol::request::Request;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(body: &str, code: Code, pointer: Option<&str>, says: &str) {
        let problem = from_json::<Request>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, code.as_str());
        assert_eq!(problem.errors.first().map(|field| field.pointer.as_str()), pointer);
        let text = problem.errors.first().map_or(&problem.detail, |field| &field.message);
        assert!(text.contains(says), "{text}");
    }

    #[test]
    fn what_is_not_json_has_a_position() {
        check("", Code::RequestMalformed, None, "line 1 column 0");
        check("{\"name\": \n nonsense}", Code::RequestMalformed, None, "line 2 column");
        check("{} {}", Code::RequestMalformed, Some(""), "missing field `name`");
    }

    #[test]
    fn what_is_wrong_is_pointed_at() {
        let request = |change: fn(&mut serde_json::Value)| {
            let mut request = json!({"name": "static_site.deploy", "target": {"kind": "site", "name": "example.test"},
                                     "hosts": [{"name": "web1"}]});
            change(&mut request);
            request.to_string()
        };
        assert!(from_json::<Request>(request(|_| {}).as_bytes()).is_ok());
        let check = |change: fn(&mut serde_json::Value), pointer: &str, says: &str| {
            check(&request(change), Code::RequestMalformed, Some(pointer), says);
        };
        check(|r| r["target"]["name"] = json!("a\nb"), "/target/name", "is not a target's name");
        check(|r| r["hosts"][0]["name"] = json!("-oProxyCommand=x"), "/hosts/0/name", "is not a host's name");
        check(|r| r["priority"] = json!("high"), "/priority", "invalid type");
        check(|r| r["varables"] = json!({}), "/varables", "did you mean `variables`?");
        check(|r| r["hosts"][0]["adress"] = json!("::1"), "/hosts/0/adress", "did you mean `address`?");
        check(|r| r["hosts"] = json!([["web1", null, null, null]]), "/hosts/0", "an object");
        check(|r| *r = json!(["a.b", {"kind": "site", "name": "x"}]), "", "an object");
        check(|r| r["variables"] = json!({"site": 3}), "/variables/site", "invalid type");
    }

    #[test]
    fn text_behind_the_document_is_refused() {
        let body = r#"{"name": "a.b", "target": {"kind": "site", "name": "x"}} trailing"#;
        check(body, Code::RequestMalformed, None, "trailing characters");
    }
}
