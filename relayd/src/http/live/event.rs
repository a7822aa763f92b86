//! How an event is written.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::Stream;
use serde::Serialize;

/// How long a stream may be silent before it sends a comment, by which both ends see that the other is there.
pub(super) const PING_AFTER: Duration = Duration::from_secs(5);

/// What is sent when there is nothing to say.
pub(super) const PING: Bytes = Bytes::from_static(b": ping\n\n");

/// The records of a transcript as events: `record`, with the id `ATTEMPT-SEQ`. Also how many they are.
pub(super) fn records(attempt: u32, first_seq: u64, lines: &[u8]) -> (Bytes, u64) {
    let mut events = BytesMut::with_capacity(lines.len() + lines.len() / 4 + 64);
    let mut seq = first_seq;
    for line in lines.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        events.extend_from_slice(format!("event: record\nid: {attempt}-{seq}\ndata: ").as_bytes());
        // A record is one line of JSON, which has no raw newline in it.
        events.extend_from_slice(line);
        events.put_u8(b'\n');
        seq += 1;
    }
    (events.freeze(), seq - first_seq)
}

/// A document as an event without an id, so that a client that comes back starts where its records end.
pub(super) fn document<T: Serialize>(kind: &str, document: &T) -> Bytes {
    let json = serde_json::to_string(document).expect("what the API shows has no failing serializers");
    Bytes::from(format!("event: {kind}\ndata: {json}\n\n"))
}

/// The last event.
pub(super) fn end() -> Bytes {
    Bytes::from_static(b"event: end\ndata: {}\n\n")
}

/// The answer that carries events.
pub(super) fn answer(events: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static) -> Response {
    let headers = [
        (CONTENT_TYPE.as_str(), "text/event-stream"),
        (CACHE_CONTROL.as_str(), "no-store"),
        // nginx would otherwise collect events until its buffer is full.
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_an_event_with_its_number() {
        let (events, count) = records(2, 7, b"{\"a\":1}\n{\"b\":2}\ntorn");
        assert_eq!(count, 2);
        assert_eq!(
            &events[..],
            b"event: record\nid: 2-7\ndata: {\"a\":1}\n\nevent: record\nid: 2-8\ndata: {\"b\":2}\n\n"
        );
        assert_eq!(&document("state", &"x")[..], b"event: state\ndata: \"x\"\n\n");
    }
}
