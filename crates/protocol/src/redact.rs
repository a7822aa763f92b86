//! Taking secrets out of messages that are kept although nobody could handle them.
//!
//! A secret stands in a request as `{"secret": "…"}`. What is kept of a message has the value of every member
//! `secret` replaced, at any depth, whether the message is otherwise sound or not; except `true`, `false` and
//! `null`, for a catalog says so of variables and holds no secret. What is no JSON can't be searched: the caller
//! decides whether it may be kept at all.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::limits::MAX_MESSAGE;

/// The member whose value is a secret.
const SECRET: &str = "secret";
/// What stands in the place of a secret. A request that holds it is refused, for it holds a secret in the clear.
const REMOVED: &str = "(removed)";

/// What became of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redacted {
    /// There is no secret in it: it may be kept byte for byte.
    Unchanged,
    /// The body with its secrets replaced.
    Changed(Vec<u8>),
    /// It is no JSON, or larger than a message may be, and may hold anything.
    Unsearchable,
}

/// Replaces secrets in a JSON body: the value of each member `secret`, and what `pointers` (RFC 6901) point at.
#[must_use]
pub fn redact<'a>(body: &[u8], pointers: impl IntoIterator<Item = &'a str>) -> Redacted {
    if body.len() > MAX_MESSAGE {
        return Redacted::Unsearchable;
    }
    // A parsed document has lost all but the last of members with the same name, so the text is searched.
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let found = Search.deserialize(&mut deserializer).and_then(|found| deserializer.end().map(|()| found));
    let (Ok(found), Ok(mut document)) = (found, serde_json::from_slice::<Value>(body)) else {
        return Redacted::Unsearchable;
    };
    let mut changed = found;
    for pointer in pointers {
        if let Some(value) = document.pointer_mut(pointer) {
            *value = json!({SECRET: REMOVED});
            changed = true;
        }
    }
    if !changed {
        return Redacted::Unchanged;
    }
    replace(&mut document);
    Redacted::Changed(document.to_string().into_bytes())
}

/// Serde's own limit on nesting, 128, bounds the recursion: what is deeper was not parsed.
fn replace(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if name == SECRET && is_secret(value) {
                    *value = REMOVED.into();
                } else {
                    replace(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_secret(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// Whether any member is a secret, those that a later one of the same name hides included.
struct Search;

impl<'de> DeserializeSeed<'de> for Search {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(name) = members.next_key::<String>()? {
            if name == SECRET {
                found |= is_secret(&members.next_value()?);
            } else {
                found |= members.next_value_seed(Search)?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(item) = items.next_element_seed(Search)? {
            found |= item;
        }
        Ok(found)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(body: &str, expect: &str) {
        let Redacted::Changed(changed) = redact(body.as_bytes(), []) else {
            panic!("{body} was not changed")
        };
        assert_eq!(String::from_utf8(changed).unwrap(), expect);
    }

    #[test]
    fn every_secret_is_replaced() {
        check(r#"{"secret":"hunter22"}"#, r#"{"secret":"(removed)"}"#);
        check(r#"[{"a":[{"secret":{"x":"hunter22"},"b":1}]}]"#, r#"[{"a":[{"b":1,"secret":"(removed)"}]}]"#);
        check(r#"{"\u0073ecret":"hunter22"}"#, r#"{"secret":"(removed)"}"#);
    }

    #[test]
    fn a_secret_behind_a_repeated_name_is_found() {
        check(r#"{"secret":"hunter22","secret":"hunter23"}"#, r#"{"secret":"(removed)"}"#);
        check(r#"{"a":{"secret":"hunter22"},"a":1}"#, r#"{"a":1}"#);
    }

    #[test]
    fn what_is_pointed_at_is_replaced() {
        let body = br#"{"body":{"variables":{"site":{"a/b":"in the clear","c":1}}}}"#;
        let redacted = redact(body, ["/body/variables/site/a~1b", "/nowhere"]);
        let expect = r#"{"body":{"variables":{"site":{"a/b":{"secret":"(removed)"},"c":1}}}}"#;
        assert_eq!(redacted, Redacted::Changed(expect.into()));
    }

    #[test]
    fn what_has_none_stays_as_it_is() {
        let catalog = r#"{"variables":{"password":{"secret":true}}}"#;
        for body in [r#"{ "a" : "secret", "b" : [1.50, null, true, -3] }"#, "7", r#""secret""#, catalog] {
            assert_eq!(redact(body.as_bytes(), []), Redacted::Unchanged, "{body}");
        }
    }

    #[test]
    fn what_can_not_be_searched_is_said_so() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let large = format!("\"{}\"", "x".repeat(MAX_MESSAGE));
        for body in ["", "{", r#"{"secret":"hunter22""#, r#"{"secret":"hunter22"} x"#, &deep, &large] {
            assert_eq!(redact(body.as_bytes(), []), Redacted::Unsearchable);
        }
        assert_eq!(redact(b"{\"secret\":\"\xff\"}", []), Redacted::Unsearchable);
    }

    fn document() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<f64>().prop_map(Value::from),
            Just(Value::from("hunter22")),
        ];
        leaf.prop_recursive(6, 60, 5, |inner| {
            let name = prop_oneof![Just("secret"), Just("name"), Just("body")].prop_map(str::to_owned);
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::hash_map(name, inner, 0..5)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    /// Whether a secret is still there.
    fn leaks(value: &Value) -> bool {
        match value {
            Value::Object(members) => {
                let left = |name: &str, value| name == SECRET && is_secret(value) && value != REMOVED;
                members.iter().any(|(name, value)| left(name, value) || leaks(value))
            }
            Value::Array(items) => items.iter().any(leaks),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }

    proptest! {
        #[test]
        fn nothing_leaks_from_any_document(document in document()) {
            let body = document.to_string();
            match redact(body.as_bytes(), []) {
                Redacted::Unchanged => prop_assert!(!leaks(&document)),
                Redacted::Changed(changed) => prop_assert!(!leaks(&serde_json::from_slice(&changed).unwrap())),
                Redacted::Unsearchable => prop_assert!(false, "it is JSON"),
            }
        }
    }
}
