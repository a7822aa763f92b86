//! From a letter as it lies in the queue to what is stored of it.

use aegir_amqp::dead::{Body, Cause, Kept, Letter};
use aegir_amqp::topology::REQUESTS;
use aegir_api::KeptBody;
use aegir_protocol::code::Code;
use sha2::{Digest as _, Sha256};

use crate::store::write::NewDeadLetter;

/// What is stored of a letter. Whoever buried it should have taken its secrets out; what the broker moved has them
/// all, so every letter is searched.
pub(super) fn sort(letter: Letter, redelivered: bool) -> NewDeadLetter {
    let fingerprint = fingerprint(&letter);
    let (code, reason) = cause(&letter.cause);
    let from_frontend = letter.queue.strip_prefix(REQUESTS).is_some_and(|rest| rest.starts_with('.'));
    // Nothing but a request may hold a secret in the clear. One that is no JSON can't be searched for it.
    let unsearchable = if from_frontend { Kept::Removed } else { Kept::Whole };
    let searched = Body::without_secrets(letter.original.body, [], unsearchable);
    let (kept, size) = match letter.kept {
        Kept::Whole => (searched.kept, searched.length),
        Kept::Redacted | Kept::Removed => (letter.kept, letter.length),
    };
    NewDeadLetter {
        code,
        reason,
        queue: letter.queue,
        exchange: letter.original.exchange,
        routing_key: letter.original.routing_key,
        content_type: letter.content_type,
        message_id: letter.message_id,
        buried_at: letter.at,
        replays: letter.replays,
        headers_dropped: letter.headers_dropped,
        properties: letter.original.properties,
        body: searched.bytes,
        kept: match kept {
            Kept::Whole => KeptBody::Whole,
            Kept::Redacted => KeptBody::Redacted,
            Kept::Removed => KeptBody::Removed,
        },
        size,
        fingerprint,
        redelivered,
    }
}

fn cause(cause: &Cause) -> (String, String) {
    match cause {
        Cause::ByConsumer { code, reason } => (code.clone(), reason.clone()),
        Cause::Moved(why) => {
            let reason = format!("the broker moved it by itself and says {why:?}: nobody settled it");
            (Code::MovedByBroker.as_str().to_owned(), reason)
        }
        Cause::Strange => {
            let reason = "it was published to the dead-letter exchange itself".to_owned();
            (Code::MessageMisplaced.as_str().to_owned(), reason)
        }
    }
}

/// What a second delivery of the same letter has in common with the first.
fn fingerprint(letter: &Letter) -> [u8; 32] {
    let mut digest = Sha256::new();
    let at = letter.at.map(|at| at.to_string()).unwrap_or_default();
    for part in [letter.queue.as_bytes(), at.as_bytes(), &letter.original.properties, &letter.original.body] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use aegir_amqp::dead::Original;
    use bytes::Bytes;

    use super::*;

    fn letter(queue: &str, kept: Kept, body: &'static [u8]) -> Letter {
        Letter {
            cause: Cause::Moved("delivery_limit".to_owned()),
            queue: queue.to_owned(),
            at: None,
            replays: 0,
            kept,
            length: body.len() as u64,
            headers_dropped: false,
            content_type: None,
            message_id: None,
            original: Original {
                exchange: String::new(),
                routing_key: queue.to_owned(),
                properties: Bytes::new(),
                body: Bytes::from_static(body),
            },
        }
    }

    #[track_caller]
    fn check(queue: &str, kept: Kept, body: &'static [u8], expect: (KeptBody, &[u8])) {
        let sorted = sort(letter(queue, kept, body), false);
        assert_eq!((sorted.kept, &sorted.body[..]), expect);
    }

    #[test]
    fn a_secret_is_taken_out_of_whatever_was_moved() {
        let secret = br#"{"secret":"hunter22"}"#;
        let replaced = &br#"{"secret":"(removed)"}"#[..];
        check("aegir.requests.main", Kept::Whole, secret, (KeptBody::Redacted, replaced));
        check("aegir.control.node1", Kept::Whole, secret, (KeptBody::Redacted, replaced));
        check("aegir.requests.main", Kept::Whole, b"\xff", (KeptBody::Removed, b""));
        check("aegir.control.node1", Kept::Whole, b"\xff", (KeptBody::Whole, b"\xff"));
        check("aegir.requests.main", Kept::Whole, b"{}", (KeptBody::Whole, b"{}"));
        check("aegir.requests.main", Kept::Removed, b"", (KeptBody::Removed, b""));
        check("aegir.requests.main", Kept::Redacted, b"{}", (KeptBody::Redacted, b"{}"));
    }

    #[test]
    fn letters_are_told_apart_by_what_they_are() {
        let print = |queue, body| fingerprint(&letter(queue, Kept::Whole, body));
        assert_eq!(print("a", b"b"), print("a", b"b"));
        assert_ne!(print("a", b"b"), print("a", b"c"));
        assert_ne!(print("a", b"b"), print("c", b"b"));
    }
}
