//! Server-sent events, live and after the fact.

use aegir_protocol::record::Stream;
use axum::body::{Body, BodyDataStream};
use axum::http::Response;
use futures_util::StreamExt as _;

use super::{DEADLINE, HttpState, header, problem, transcript};

/// Reads events from a response.
struct Events {
    stream: BodyDataStream,
    buffer: String,
}

impl Events {
    fn of(response: Response<Body>) -> Self {
        assert_eq!(header(&response, "content-type"), "text/event-stream");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "x-accel-buffering"), "no");
        Self { stream: response.into_body().into_data_stream(), buffer: String::new() }
    }

    /// The next event as (kind, id, data); comments are left out. `None` when the stream has ended.
    async fn next(&mut self) -> Option<(String, String, String)> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.buffer = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field = |name: &str| {
                    let value = event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    value.unwrap_or_default().to_owned()
                };
                return Some((field("event"), field("id"), field("data")));
            }
            let bytes =
                tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("the next event in time")?;
            self.buffer.push_str(std::str::from_utf8(&bytes.unwrap()).unwrap());
        }
    }

    /// The next record as (id, line).
    async fn record(&mut self) -> (String, String) {
        loop {
            match self.next().await.expect("a record before the end") {
                (kind, id, data) if kind == "record" => return (id, data + "\n"),
                (kind, ..) => assert_eq!(kind, "state"),
            }
        }
    }

    /// Everything up to the end: the ids of the records, their lines, and the last state.
    async fn rest(&mut self) -> (Vec<String>, String, String) {
        let (mut ids, mut lines, mut state) = (Vec::new(), String::new(), String::new());
        loop {
            let (kind, id, data) = self.next().await.expect("an event `end` before the stream ends");
            match kind.as_str() {
                "record" => {
                    ids.push(id);
                    lines.push_str(&data);
                    lines.push('\n');
                }
                "state" => {
                    assert_eq!(id, "");
                    let summary: serde_json::Value = serde_json::from_str(&data).unwrap();
                    state = summary["state"].as_str().unwrap().to_owned();
                }
                "end" => break,
                other => panic!("an event {other}"),
            }
        }
        assert_eq!(self.next().await, None);
        (ids, lines, state)
    }
}

const OUTPUTS: [(Stream, &[u8]); 2] = [(Stream::Stdout, b"a\n"), (Stream::Stdout, b"b\n")];

#[tokio::test]
async fn what_has_ended_is_told_from_the_start_or_from_the_last_event() {
    let site = HttpState::new().await;
    let (id, lines) = site.finished(&OUTPUTS).await;
    let whole: String = lines.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect();
    let path = format!("/api/v1/operations/{id}/events");
    let (ids, told, state) = Events::of(site.get(&path).await).rest().await;
    assert_eq!((ids.join(" "), told, state.as_str()), ("1-1 1-2 1-3 1-4".to_owned(), whole, "succeeded"));

    let (ids, ..) = Events::of(site.get(&format!("{path}?from=3")).await).rest().await;
    assert_eq!(ids, ["1-3", "1-4"]);
    let (ids, ..) = Events::of(site.get(&format!("{path}?tail=1")).await).rest().await;
    assert_eq!(ids, ["1-4"]);

    let bearer = format!("Bearer {}", site.token);
    let from = async |last: &str| {
        let headers = [("authorization", bearer.as_str()), ("last-event-id", last)];
        site.send("GET", &format!("{path}?from=1"), &headers, Body::empty()).await
    };
    let (ids, ..) = Events::of(from("1-2").await).rest().await;
    assert_eq!(ids, ["1-3", "1-4"]);
    let (ids, ..) = Events::of(from("1-4").await).rest().await;
    assert_eq!(ids, Vec::<String>::new());
    assert_eq!(problem(from("x").await).await.1, "field_invalid");
    assert_eq!(problem(from("2-1").await).await, (404, "no_such_attempt".to_owned(), None));
}

#[tokio::test]
async fn what_runs_is_told_as_it_happens() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let lines = transcript(id, &OUTPUTS);
    let mut events = Events::of(site.get(&format!("/api/v1/operations/{id}/events")).await);
    let (kind, _, data) = events.next().await.unwrap();
    assert_eq!(kind, "state");
    assert!(data.contains(r#""state":"queued""#), "{data}");

    site.claim(id).await;
    let mut offset = 0;
    for (index, line) in lines[..3].iter().enumerate() {
        site.chunk(id, offset, line).await;
        offset += line.len();
        let (event_id, told) = events.record().await;
        assert_eq!((event_id, told.as_bytes()), (format!("1-{}", index + 1), &line[..]));
    }
    site.chunk(id, offset, &lines[3]).await;
    let (ids, _, state) = events.rest().await;
    assert_eq!((ids.as_slice(), state.as_str()), (&["1-4".to_owned()][..], "succeeded"));
}

#[tokio::test]
async fn an_operation_that_never_started_ends_too() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let mut events = Events::of(site.get(&format!("/api/v1/operations/{id}/events")).await);
    assert_eq!(events.next().await.unwrap().0, "state");
    site.services.operations.cancel(id, None).await.unwrap();
    let (ids, _, state) = events.rest().await;
    assert_eq!((ids.len(), state.as_str()), (0, "canceled"));
}

#[tokio::test]
async fn streams_end_without_an_end_when_relayd_stops() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let mut events = Events::of(site.get(&format!("/api/v1/operations/{id}/events")).await);
    assert_eq!(events.next().await.unwrap().0, "state");
    site.stop.cancel();
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn the_list_tells_what_changes_beyond_the_newest_hundred_and_beyond_its_query() {
    let site = HttpState::new().await;
    let first = site.submit().await;
    let newer = futures_util::future::join_all((0..110).map(|_| site.submit())).await;
    let bearer = format!("Bearer {}", site.token);
    let headers = [("authorization", bearer.as_str())];
    for (query, rows, changes) in [("", 50, first), ("?limit=3&state=waiting,queued", 3, newer[5])] {
        let path = format!("/events{query}");
        let mut events = Events::of(site.send("GET", &path, &headers, Body::empty()).await);
        for _ in 0..rows {
            let (_, _, data) = events.next().await.unwrap();
            assert!(!data.contains(&changes.to_string()));
        }
        site.services.operations.cancel(changes, None).await.unwrap();
        loop {
            let (_, _, data) = events.next().await.unwrap();
            if data.contains(&changes.to_string()) && data.contains(r#""state":"canceled""#) {
                break;
            }
        }
    }
    let refused = site.send("GET", "/events?sate=x", &headers, Body::empty()).await;
    assert_eq!(refused.status(), 400);
}

#[tokio::test]
async fn the_list_tells_each_change() {
    let site = HttpState::new().await;
    let first = site.submit().await.to_string();
    let bearer = format!("Bearer {}", site.token);
    let headers = [("authorization", bearer.as_str())];
    let mut events = Events::of(site.send("GET", "/events", &headers, Body::empty()).await);
    assert!(events.next().await.unwrap().2.contains(&first));
    let second = site.submit().await;
    assert!(events.next().await.unwrap().2.contains(&second.to_string()));
    site.services.operations.cancel(second, None).await.unwrap();
    let (_, _, data) = events.next().await.unwrap();
    assert!(data.contains(&second.to_string()) && data.contains(r#""state":"canceled""#), "{data}");
}
