//! A hash over all that a plan depends on.

use aegir_protocol::name::PlanHash;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What is known to be secret is left out, for the hash stands in transcripts. For what is not known to be, so many rounds make it
/// slow to guess.
const ROUNDS: usize = 100_000;

/// Collects what a plan depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Bytes. What is added in another order, or parted in another way, is something else.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// A value, whatever the order of its keys.
    pub(crate) fn add_value(&mut self, value: &Value) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                self.add(format!("object {}", members.len()).as_bytes());
                for (name, value) in members {
                    self.add(name.as_bytes());
                    self.add_value(value);
                }
            }
            Value::Array(items) => {
                self.add(format!("array {}", items.len()).as_bytes());
                items.iter().for_each(|item| self.add_value(item));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                self.add(value.to_string().as_bytes());
            }
        }
    }

    /// The hash, in hex.
    pub(crate) fn hash(self) -> PlanHash {
        let mut digest = self.0.finalize();
        for _ in 0..ROUNDS {
            digest = Sha256::digest(digest);
        }
        hex::encode(digest).parse().expect("64 hex digits are a plan's hash")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(value: &Value) -> PlanHash {
        let mut inputs = Inputs::default();
        inputs.add_value(value);
        inputs.hash()
    }

    #[test]
    fn what_differs_has_another_hash() {
        let values = [
            json!({"a": 1, "b": [2]}),
            json!({"a": "1", "b": [2]}),
            json!({"a": 1, "b": 2}),
            json!([["a", 1], ["b", 2]]),
            json!({"a": {"b": 1}, "c": 2}),
            json!({"a": {"b": 1, "c": 2}}),
        ];
        let hashes: std::collections::BTreeSet<_> = values.iter().map(hash).collect();
        assert_eq!(hashes.len(), values.len());
        assert_eq!(hash(&values[0]), hash(&serde_json::from_str(r#"{"b": [2], "a": 1}"#).unwrap()));
        assert_eq!(hash(&values[0]).as_str().len(), 64);
    }
}
