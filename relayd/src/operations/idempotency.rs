//! Whether two requests with one idempotency key are the same.
//!
//! Two requests with the same idempotency key are the same if their HMAC-SHA256 is, over what they say in the
//! clear and with a key that never leaves the store: a plain hash would let a reader of the store guess secrets.

use aegir_protocol::code::Code;
use aegir_protocol::limits::MAX_IDEMPOTENCY_KEY;
use aegir_protocol::name::BackendName;
use aegir_protocol::problem::{FieldProblem, Problem};
use aegir_protocol::request::Request;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

/// What the key of a request begins with that has none of its own, before its message's id.
const OF_MESSAGE: &str = "message:";

/// The idempotency key of a request whose message has this id and which has no key of its own. An empty id, as some
/// clients send who set none, tells no message from another and is none.
#[must_use]
pub fn key_of_message(id: &str) -> Option<String> {
    (!id.is_empty()).then(|| format!("{OF_MESSAGE}{id}"))
}

/// Whether a key can be used. What stands before a message's id does not count: every id that the broker takes
/// is short enough.
///
/// # Errors
/// With what is expected.
pub fn check_key(key: &str) -> Result<(), Problem> {
    let (what, pointer, sent) = match key.strip_prefix(OF_MESSAGE) {
        Some(id) => ("message_id, which stands for the idempotency key,", "", id),
        None => ("idempotency key", "/idempotency_key", key),
    };
    if !sent.is_empty() && sent.chars().count() <= MAX_IDEMPOTENCY_KEY && !sent.chars().any(char::is_control)
    {
        return Ok(());
    }
    let detail = format!(
        "the {what} is not valid: 1 to {MAX_IDEMPOTENCY_KEY} characters without control characters are expected; \
         without a key leave it out"
    );
    let errors = vec![FieldProblem::new(pointer, Code::FieldInvalid, detail.as_str())];
    Err(Problem { errors, ..Problem::new(Code::FieldInvalid, detail) })
}

/// The key of a store.
#[derive(Clone)]
pub struct MacKey(pub [u8; 32]);

impl MacKey {
    /// What a request is compared by. Which way it came, and whether it names the default backend or leaves it
    /// out, makes no difference.
    #[must_use]
    pub fn mac(&self, request: &Request, backend: &BackendName) -> [u8; 32] {
        let request = Request { idempotency_key: None, backend: Some(backend.clone()), ..request.clone() };
        let mut value =
            serde_json::to_value(&request).expect("a request has string keys and no failing serializers");
        // As the version before wrote it: a request that is repeated across an upgrade is the same one.
        if let Some(object) = value.as_object_mut() {
            object.remove("dry_run");
            object.insert("check".to_owned(), request.dry_run.into());
        }
        let mut canonical = Vec::with_capacity(1024);
        write(&value, &mut canonical);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(&canonical);
        mac.finalize().into_bytes().into()
    }
}

/// JSON with sorted keys, whatever order the map type has.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.iter().collect();
            keys.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (key, value) in keys {
                write(&Value::String(key.clone()), out);
                out.push(b':');
                write(value, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for item in items {
                write(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_empty_id_of_a_message_is_none_and_the_longest_is_a_key() {
        assert_eq!(key_of_message(""), None);
        for length in [1, 247, 248, 255] {
            let key = key_of_message(&"x".repeat(length)).unwrap();
            assert_eq!(check_key(&key).map_err(|problem| problem.detail), Ok(()), "{length}");
        }
        let said = |key: &str| check_key(key).unwrap_err().detail;
        assert!(said(&key_of_message("a\nb").unwrap()).contains("the message_id"));
        for key in ["", "a\nb", &"x".repeat(256)] {
            assert!(said(key).contains("the idempotency key is not valid: 1 to 255 characters"), "{key}");
        }
        assert!(check_key(&"ä".repeat(255)).is_ok());
    }

    fn mac(request: Value) -> [u8; 32] {
        let request: Request = serde_json::from_value(request).unwrap();
        MacKey([7; 32]).mac(&request, &"main".parse().unwrap())
    }

    #[test]
    fn the_same_request_is_the_same() {
        let target = json!({"kind": "site", "name": "x"});
        let one = json!({"name": "a.b", "target": target, "variables": {"site": {"a": 1, "b": {"secret": "s3cret"}}}});
        let other = json!({"variables": {"site": {"b": {"secret": "s3cret"}, "a": 1}}, "name": "a.b",
                           "target": target, "backend": "main", "idempotency_key": "k"});
        assert_eq!(mac(one.clone()), mac(other));
        let mut changed = one;
        changed["variables"]["site"]["b"]["secret"] = json!("s3cres");
        assert_ne!(
            mac(changed),
            mac(
                json!({"name": "a.b", "target": target, "variables": {"site": {"a": 1, "b": {"secret": "s3cret"}}}})
            )
        );
    }

    #[test]
    fn a_request_that_is_repeated_after_an_upgrade_is_the_same() {
        let target = json!({"kind": "site", "name": "x"});
        let now = mac(json!({"name": "a.b", "target": target, "dry_run": true}));
        assert_eq!(now, mac(json!({"name": "a.b", "target": target, "check": true})));
        assert_eq!(hex::encode(now), "1bd5467170230801f0aa387f49c139985beb5109c9df61bd344ad20481313127");
        let real = mac(json!({"name": "a.b", "target": target}));
        assert_eq!(hex::encode(real), "2e2a5946538c6372f041ee73c19f301d38debd2c9bb7882cbf899b0c7041967f");
    }
}
