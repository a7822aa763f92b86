//! For each queue: messages that are valid, and whether bytes are a message that belongs there.

use aegir_amqp::topology;
use aegir_protocol::message::{
    CHUNK_CONTENT_TYPE, Chunk, Heartbeat, decode, decode_to_frontend, decode_to_node, encode_chunk,
};
use aegir_protocol::operation::Operation;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::random::Random;

/// A queue that strangers could write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FuzzTarget {
    Dead,
    Requests,
    Operations,
    Transcripts,
    Control,
    Status,
}

/// How many of the messages end as dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parked {
    /// Every one: what can be read is refused, too.
    All,
    /// Exactly those that can't be read.
    Unreadable,
    /// Those that can't be read, and some that can: what they are about does not exist. An Operation that is taken
    /// has a claim, and it is the claim that ends there.
    UnreadableAndMore,
}

impl FuzzTarget {
    pub(super) const ALL: [Self; 6] =
        [Self::Dead, Self::Requests, Self::Operations, Self::Transcripts, Self::Control, Self::Status];

    pub(super) fn exchange(self) -> &'static str {
        match self {
            Self::Requests => topology::REQUESTS,
            Self::Operations => topology::OPERATIONS,
            Self::Transcripts => topology::TRANSCRIPTS,
            Self::Control => topology::CONTROL,
            Self::Status => topology::STATUS,
            Self::Dead => topology::DEAD,
        }
    }

    /// The names of frontend, backend and node are the test kit's.
    pub(super) fn routing_key(self) -> &'static str {
        match self {
            Self::Requests | Self::Operations | Self::Transcripts | Self::Status => "main",
            Self::Control => "node1",
            Self::Dead => "",
        }
    }

    pub(super) fn parked(self) -> Parked {
        match self {
            // Nobody is told of a refusal, and the role that they name does not exist.
            Self::Requests | Self::Dead => Parked::All,
            Self::Operations | Self::Transcripts => Parked::UnreadableAndMore,
            Self::Control | Self::Status => Parked::Unreadable,
        }
    }

    /// Whether these bytes can be read as a message that belongs here.
    pub(super) fn reads(self, content_type: Option<&str>, body: &[u8]) -> bool {
        match self {
            Self::Requests | Self::Dead => false,
            Self::Operations => decode::<Operation>(body).is_ok(),
            Self::Transcripts => decode_to_frontend(content_type, &Bytes::copy_from_slice(body)).is_ok(),
            Self::Control => decode_to_node(body).is_ok(),
            Self::Status => decode::<Heartbeat>(body).is_ok(),
        }
    }

    /// A valid message of one of the kinds that belong here, with its content type.
    pub(super) fn valid(self, random: &mut Random) -> (&'static str, Vec<u8>) {
        const JSON: &str = aegir_protocol::message::JSON_CONTENT_TYPE;
        if self == Self::Transcripts && random.once_in(3) {
            return (CHUNK_CONTENT_TYPE, chunk(random));
        }
        let (schema, body) = match self {
            Self::Requests => ("aegir.request/0", request()),
            Self::Operations => ("aegir.operation/0", operation(random)),
            Self::Transcripts => to_frontend(random),
            Self::Control => to_node(random),
            Self::Status => ("aegir.heartbeat/0", heartbeat(random)),
            Self::Dead => return random.pick(&Self::ALL[1..]).valid(random),
        };
        (JSON, json!({"schema": schema, "body": body}).to_string().into_bytes())
    }
}

fn request() -> Value {
    json!({
        "name": "nobody.print", "target": {"kind": "site", "name": "example.test"},
        "hosts": [{"name": "web1", "address": "192.0.2.7", "services": {"nginx": {}}}],
        "variables": {"site": {"text": "x", "list": [1, 2.5, null, true]}}, "priority": 3,
    })
}

/// As a UUIDv7 looks, so that messages are about things that do not exist.
fn id(random: &mut Random) -> String {
    let text = format!("{:016x}{:016x}", random.next(), random.next());
    format!("{}-{}-7{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..])
}

fn operation(random: &mut Random) -> Value {
    // Every one that is taken is remembered for thirty days, on the disk and in memory. That is meant to be so, and
    // not what is measured here.
    let backend = if random.once_in(50) { "main" } else { "elsewhere" };
    json!({
        "id": id(random), "attempt": 1, "name": "nobody.print", "backend": backend, "frontend": "main",
        "target": {"kind": "site", "id": "example.test", "name": "example.test"}, "hosts": [],
        "variables": {"site": {"text": "x"}},
        "locks": [{"kind": "site", "id": "example.test", "mode": "exclusive"}],
        "requested_by": "fuzz", "requested_at": "2026-11-24T12:00:00Z", "priority": 0, "dry_run": false, "check": false,
        "timeout_seconds": null, "retry_of": null, "traceparent": null,
    })
}

fn to_frontend(random: &mut Random) -> (&'static str, Value) {
    let id = id(random);
    match random.below(4) {
        0 => {
            let asked_at = json!({"boot": id, "milliseconds": 1});
            ("aegir.claim/0", json!({"operation": id, "attempt": 1, "node": "node1", "asked_at": asked_at}))
        }
        1 => {
            let reason = json!({"code": "runner_gone", "message": "x"});
            let report =
                json!({"operation": id, "attempt": 1, "node": "node1", "outcome": "lost", "reason": reason});
            ("aegir.report/0", report)
        }
        2 => ("aegir.echoed/0", json!({"id": id, "node": "node1"})),
        _ => {
            let catalog = json!({
                "backend": "fuzz", "node": "fuzz", "recipient": "age1", "digest": "x", "roles": {}, "left_out": {},
            });
            ("aegir.catalog/0", catalog)
        }
    }
}

fn to_node(random: &mut Random) -> (&'static str, Value) {
    let id = id(random);
    match random.below(5) {
        0 => ("aegir.grant/0", json!({"operation": id, "attempt": 1, "granted": true, "reason": null})),
        1 => ("aegir.receipt/0", json!({"operation": id, "attempt": 1, "offset": 7, "complete": false})),
        2 => ("aegir.replay/0", json!({"operation": id, "attempt": 1, "offset": 7})),
        3 => ("aegir.cancel/0", json!({"operation": id, "attempt": 1, "requested_by": "fuzz"})),
        _ => ("aegir.echo/0", json!({"id": id, "frontend": "main"})),
    }
}

fn heartbeat(random: &mut Random) -> Value {
    json!({
        "node": "fuzz", "backend": "fuzz", "version": "0", "at": "2026-11-24T12:00:00Z", "slots": 4,
        "waiting": [], "running": [{"operation": id(random), "attempt": 1}], "spool_bytes": 0, "accepting": true,
    })
}

fn chunk(random: &mut Random) -> Vec<u8> {
    let payload = b"{\"seq\":1,\"at\":\"2026-11-24T12:00:00Z\",\"kind\":\"output\",\"body\":{}}\n";
    let header = json!({
        "operation": id(random), "attempt": 1, "node": "node1", "offset": 0, "length": payload.len(),
        "crc32c": crc32c::crc32c(payload),
    });
    let header: Chunk = serde_json::from_value(header).expect("the header is valid");
    encode_chunk(&header, payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_protocol::request::Request;

    #[test]
    fn what_is_called_valid_is_valid() {
        let mut random = Random::new(1);
        for target in FuzzTarget::ALL {
            for _ in 0..200 {
                let (kind, body) = target.valid(&mut random);
                match target {
                    FuzzTarget::Dead => {}
                    FuzzTarget::Requests => drop(decode::<Request>(&body).expect("a request")),
                    FuzzTarget::Operations
                    | FuzzTarget::Transcripts
                    | FuzzTarget::Control
                    | FuzzTarget::Status => {
                        assert!(target.reads(Some(kind), &body), "{}", String::from_utf8_lossy(&body));
                    }
                }
            }
        }
    }
}
