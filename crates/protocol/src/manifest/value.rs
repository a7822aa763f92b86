//! What a manifest says of a value: a JSON Schema (2020-12) and keywords of our own beside it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A variable: a JSON Schema (2020-12) with four more keywords. `scope` (required) says where the value comes
/// from, `secret` that it must be sealed, `optional` that it may be absent, `unit` what a number counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct VariableManifest(pub Map<String, Value>);

/// A document that a Task hands over: a JSON Schema (2020-12) with four more keywords. `secret` says that it is a text
/// which is sealed before it is recorded, `optional` that it may be absent, `unit` what a number counts, and
/// `fresh_seconds` for how long it is to be believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct OutputManifest(pub Map<String, Value>);

/// What is no keyword of JSON Schema.
const OURS: [&str; 5] = ["scope", "secret", "optional", "unit", "fresh_seconds"];

fn flag(map: &Map<String, Value>, keyword: &str) -> bool {
    map.get(keyword) == Some(&Value::Bool(true))
}

fn schema(map: &Map<String, Value>) -> Value {
    let theirs = map.iter().filter(|(keyword, _)| !OURS.contains(&keyword.as_str()));
    Value::Object(theirs.map(|(keyword, value)| (keyword.clone(), value.clone())).collect())
}

/// The most faults that are said of one value.
const MOST_FAULTS: usize = 16;
/// A message that is longer, in bytes, says `value` in place of the value.
const LONGEST_FAULT: usize = 500;

/// Each fault of a value: where in it, as a JSON pointer, and what was expected there. A masked one is not shown.
fn faults(map: &Map<String, Value>, value: &Value, masked: bool) -> Vec<(String, String)> {
    // One that is no schema was left out of the catalog.
    let validator = match jsonschema::validator_for(&schema(map)) {
        Ok(validator) => validator,
        Err(error) => return vec![(String::new(), format!("no JSON Schema: {error}"))],
    };
    let faults = validator.iter_errors(value).take(MOST_FAULTS).map(|error| {
        let said = if masked { String::new() } else { error.to_string() };
        let short = !said.is_empty() && said.len() <= LONGEST_FAULT;
        (error.instance_path().to_string(), if short { said } else { error.masked().to_string() })
    });
    faults.collect()
}

impl VariableManifest {
    /// What is wrong with a value that is no secret: where in it, as a JSON pointer, and what was expected there.
    #[must_use]
    pub fn faults(&self, value: &Value) -> Vec<(String, String)> {
        faults(&self.0, value, self.secret())
    }

    /// The scope that its value comes from: `site`, `platform`, …
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.0.get("scope")?.as_str()
    }

    /// Whether each host has a value of its own: its scope is `hosts`, and values come from `hosts.<name>`.
    #[must_use]
    pub fn of_hosts(&self) -> bool {
        self.scope() == Some("hosts")
    }

    /// Whether its value must be sealed.
    #[must_use]
    pub fn secret(&self) -> bool {
        flag(&self.0, "secret")
    }

    /// Whether it may be absent without a default.
    #[must_use]
    pub fn optional(&self) -> bool {
        flag(&self.0, "optional")
    }

    /// The value that it has when nobody gives one.
    #[must_use]
    pub fn default(&self) -> Option<&Value> {
        self.0.get("default")
    }

    /// The schema alone.
    #[must_use]
    pub fn schema(&self) -> Value {
        schema(&self.0)
    }

    /// What is wrong with it, each after its name.
    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.scope().is_none() {
            wrong.push(" has no scope: say which entity it belongs to, such as site".to_owned());
        }
        if let Err(error) = jsonschema::validator_for(&self.schema()) {
            wrong.push(format!(" is not a JSON Schema: {error}"));
        } else if let Some(default) = self.default()
            && !jsonschema::is_valid(&self.schema(), default)
        {
            wrong.push(": the default does not fit the schema".to_owned());
        }
        if self.secret() && self.default().is_some() {
            wrong.push(" is a secret and has a default, which everybody can read".to_owned());
        }
        if self.secret() && self.of_hosts() {
            wrong.push(" is a secret of the scope hosts: give it another scope".to_owned());
        }
        wrong
    }
}

impl OutputManifest {
    /// Whether it is sealed before it is recorded.
    #[must_use]
    pub fn secret(&self) -> bool {
        flag(&self.0, "secret")
    }

    /// Whether the Task may succeed without it.
    #[must_use]
    pub fn optional(&self) -> bool {
        flag(&self.0, "optional")
    }

    /// For how long it is to be believed, in seconds; for ever when absent.
    #[must_use]
    pub fn fresh_seconds(&self) -> Option<u64> {
        self.0.get("fresh_seconds")?.as_u64()
    }

    /// What is wrong with a value, if anything is.
    ///
    /// # Errors
    /// Where in the value, as a JSON pointer, and what was expected there.
    pub fn fits(&self, value: &Value) -> Result<(), String> {
        // What a secret is does not go into a message.
        let faults = faults(&self.0, value, self.secret()).into_iter();
        let said = faults.map(|(at, what)| if at.is_empty() { what } else { format!("{at}: {what}") });
        let said: Vec<_> = said.collect();
        if said.is_empty() { Ok(()) } else { Err(said.join("; ")) }
    }

    /// What is wrong with it, each after its name.
    pub(super) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Err(error) = jsonschema::validator_for(&schema(&self.0)) {
            wrong.push(format!(" is not a JSON Schema: {error}"));
        }
        if self.secret() && self.0.get("type").and_then(Value::as_str) != Some("string") {
            wrong.push(" is a secret, so its type must be string".to_owned());
        }
        if self.0.contains_key("fresh_seconds") && self.fresh_seconds().is_none_or(|seconds| seconds == 0) {
            wrong.push(".fresh_seconds: a whole number of seconds, 1 or more, is expected".to_owned());
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn output(value: Value) -> OutputManifest {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_value_is_pointed_at_where_it_does_not_fit() {
        let sizes =
            output(json!({"type": "object", "properties": {"bytes": {"type": "integer"}}, "unit": "bytes"}));
        assert_eq!(sizes.check(), Vec::<String>::new());
        assert_eq!(sizes.fits(&json!({"bytes": 1})), Ok(()));
        assert_eq!(
            sizes.fits(&json!({"bytes": "x"})).unwrap_err(),
            r#"/bytes: "x" is not of type "integer""#
        );
        let both = output(json!({"required": ["b"], "properties": {"a": {"type": "integer"}}}));
        let said = both.fits(&json!({"a": "x"})).unwrap_err();
        assert!(said.contains("/a: ") && said.contains(r#""b" is a required property"#), "{said}");
        let long = sizes.fits(&json!({"bytes": "x".repeat(1000)})).unwrap_err();
        assert_eq!(long, r#"/bytes: value is not of type "integer""#);
        let word = output(json!({"type": "string", "secret": true, "minLength": 40}));
        assert!(!word.fits(&json!("hunter2 hunter2")).unwrap_err().contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_with_an_output_is_said() {
        let wrong = |value| output(value).check().len();
        assert_eq!(wrong(json!({"type": "strong"})), 1);
        assert_eq!(wrong(json!({"type": "object", "secret": true})), 1);
        assert_eq!(wrong(json!({"secret": true})), 1);
        assert_eq!(wrong(json!({"fresh_seconds": 0})), 1);
        assert_eq!(wrong(json!({"fresh_seconds": "1h"})), 1);
        assert_eq!(wrong(json!({"fresh_seconds": 3600})), 0);
    }
}
