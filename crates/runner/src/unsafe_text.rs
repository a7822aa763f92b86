//! Values from the frontend as Ansible takes them for data.
//!
//! Ansible evaluates a string of an extra-vars file as a template, on the backend, as dispatcherd's user. In
//! a JSON file `{"__ansible_unsafe": "…"}` stands for a string that is never evaluated, in every version from
//! 2.14 on, also after it was copied, joined or filtered.

use serde_json::{Map, Value, json};

/// A value that Ansible would not take for data. relayd and the planner refuse it long before.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {0:?} has a meaning of its own in Ansible and can't be in a value")]
pub(super) struct NotData(String);

/// A value whose strings are never evaluated.
pub(super) fn wrapped(value: &Value) -> Result<Value, NotData> {
    Ok(match value {
        Value::String(text) => json!({ "__ansible_unsafe": text }),
        Value::Array(items) => Value::Array(items.iter().map(wrapped).collect::<Result<_, _>>()?),
        Value::Object(object) => {
            let entry = |(key, value): (&String, &Value)| {
                if key.starts_with("__ansible") {
                    return Err(NotData(key.chars().take(64).collect()));
                }
                Ok((key.clone(), wrapped(value)?))
            };
            Value::Object(object.iter().map(entry).collect::<Result<Map<_, _>, _>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

/// Whether Ansible takes a value for data, strings wrapped.
pub(super) fn is_data(value: &Value) -> Result<(), NotData> {
    wrapped(value).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_string_is_wrapped_however_deep() {
        let value = json!({ "a": ["{{ x }}", 1, { "b": "c" }], "d": null, "{{ key }}": true });
        let expected = json!({
            "a": [{ "__ansible_unsafe": "{{ x }}" }, 1, { "b": { "__ansible_unsafe": "c" } }],
            "d": null,
            "{{ key }}": true,
        });
        assert_eq!(wrapped(&value).unwrap(), expected);
    }

    #[test]
    fn keys_that_unwrap_are_refused() {
        for key in ["__ansible_unsafe", "__ansible_vault", "__ansible_type"] {
            assert!(wrapped(&json!([{ key: "x" }])).is_err());
        }
    }
}
