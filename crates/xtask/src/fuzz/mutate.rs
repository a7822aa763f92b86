//! Making bad messages of good ones.

use aegir_protocol::limits::{MAX_CHUNK, MAX_MESSAGE};
use serde_json::{Map, Value, json};

use super::corpus::FuzzTarget;
use crate::random::Random;

/// A message to publish.
#[derive(Clone, Debug)]
pub(super) struct FuzzMessage {
    pub(super) content_type: Option<String>,
    pub(super) message_id: Option<String>,
    /// How deep tables are nested in its headers.
    pub(super) nesting: usize,
    pub(super) body: Vec<u8>,
}

/// The deepest nesting that fits the daemons' frames of 16 KiB, in which AMQP carries a message's properties. What does
/// not fit ends sessions until the broker moves it away, and has a test of its own in `crates/amqp/`.
pub(super) const DEEPEST: usize = 2_600;

/// The next message for a queue: some are valid, most are not.
pub(super) fn message(target: FuzzTarget, random: &mut Random) -> FuzzMessage {
    let (kind, valid) = target.valid(random);
    let body = match random.below(16) {
        0 | 1 => valid,
        2 => {
            let length = random.below(600);
            random.bytes(length)
        }
        3..=7 => damaged(valid, random),
        // Large ones cost as much as a thousand others.
        8 if random.once_in(60) => sized(&valid, random),
        _ => changed(&valid, random),
    };
    let content_type = match random.below(10) {
        0 => None,
        1 => Some((*random.pick(&["", "text/plain", "application/vnd.aegir.chunk", "é\u{0}\n"])).to_owned()),
        _ => Some(kind.to_owned()),
    };
    let nesting = match random.below(2000) {
        0 => DEEPEST,
        1..=100 => random.below(200),
        _ => 0,
    };
    // Requests without an id are refused for that alone.
    let message_id = (!random.once_in(8)).then(|| random.next().to_string());
    FuzzMessage { content_type, message_id, nesting, body }
}

/// Bytes that were hurt on their way.
fn damaged(mut body: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.below(body.len().max(1)).min(body.len());
        match random.below(6) {
            0 => body.truncate(at),
            1 => body.insert(at, 0),
            2 => body.clear(),
            3 => {
                let length = random.below(20);
                body.splice(at..at, random.bytes(length));
            }
            4 => body.extend_from_within(at..),
            _ => {
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    body
}

/// At and over the limits of size, with spaces that JSON allows.
fn sized(body: &[u8], random: &mut Random) -> Vec<u8> {
    let size = *random.pick(&[MAX_MESSAGE - 1, MAX_MESSAGE, MAX_MESSAGE + 1, MAX_CHUNK + MAX_MESSAGE + 2]);
    let mut large = vec![b' '; size.saturating_sub(body.len())];
    large.extend_from_slice(body);
    large
}

/// JSON that says something else.
fn changed(body: &[u8], random: &mut Random) -> Vec<u8> {
    let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
    let Ok(mut document) = serde_json::from_slice::<Value>(&body[..end]) else { return body.to_vec() };
    let text = match random.below(8) {
        0 => {
            let schemas = [
                "aegir.operation/1",
                "aegir.request/4294967295",
                "aegir.claim/99999999999999999999",
                "aegir.grant/-1",
                "aegir.request",
                "somebody.else/0",
                "",
                "aegir.reply/0",
                "aegir.heartbeat/0",
                "aegir.operation/0",
            ];
            document["schema"] = json!(random.pick(&schemas));
            document.to_string()
        }
        1 => {
            // Of two members with one name, which one counts?
            let text = document.to_string();
            format!("{{\"schema\":\"aegir.claim/0\",\"body\":null,{}", &text[1..])
        }
        2 => {
            let depth = *random.pick(&[100, 127, 128, 129, 5_000, 100_000]);
            format!("{{\"schema\":\"aegir.claim/0\",\"body\":{}{}}}", "[".repeat(depth), "]".repeat(depth))
        }
        _ => {
            for _ in 0..=random.below(2) {
                let value = odd(random);
                replace(&mut document, value, random);
            }
            document.to_string()
        }
    };
    let mut changed = text.into_bytes();
    changed.extend_from_slice(&body[end..]);
    changed
}

fn odd(random: &mut Random) -> Value {
    let number = i64::from_le_bytes(random.next().to_le_bytes());
    let long = "x".repeat(random.below(5_000));
    random
        .pick(&[
            Value::Null,
            json!(true),
            json!(number),
            json!(u64::MAX),
            json!(-1),
            json!(1e308),
            json!(0),
            json!(""),
            json!("\u{0}"),
            json!("../../etc/passwd"),
            json!("-oProxyCommand=x"),
            json!("{{ lookup('pipe', 'id') }}"),
            json!(long),
            json!([]),
            json!({}),
            json!([[[[{"a": [null]}]]]]),
            json!({"secret": "hunter22"}),
            json!({"sealed": "x"}),
        ])
        .clone()
}

/// Puts a value somewhere.
fn replace(document: &mut Value, value: Value, random: &mut Random) {
    match document {
        Value::Object(members) if !members.is_empty() && !random.once_in(8) => member(members, value, random),
        Value::Array(items) if !items.is_empty() && !random.once_in(8) => {
            let at = random.below(items.len());
            replace(&mut items[at], value, random);
        }
        other => *other = value,
    }
}

fn member(members: &mut Map<String, Value>, value: Value, random: &mut Random) {
    let names: Vec<_> = members.keys().cloned().collect();
    let name = random.pick(&names);
    match random.below(8) {
        0 => drop(members.remove(name)),
        1 => drop(members.insert(format!("{name}\u{0}"), value)),
        _ => {
            if let Some(inner) = members.get_mut(name) {
                replace(inner, value, random);
            }
        }
    }
}
