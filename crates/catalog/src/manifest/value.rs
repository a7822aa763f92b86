//! What a manifest says of a value: a JSON Schema (2020-12) and keywords of our own beside it.

use std::borrow::Cow;
use std::sync::LazyLock;

use jsonschema::Validator;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A variable: a JSON Schema (2020-12) with four more keywords. `scope` (required) says where the value comes
/// from, `secret` that it must be sealed, `optional` that it may be absent, `unit` what a number counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VariableManifest(pub Map<String, Value>);

/// A document that a Task hands over: a JSON Schema (2020-12) with four more keywords. `secret` says that it is a text
/// which is sealed before it is recorded, `optional` that it may be absent, `unit` what a number counts, and
/// `fresh_seconds` for how long it is to be believed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutputManifest(pub Map<String, Value>);

/// What a variable's scope can be: a kind of entity, `operation`, `hosts`, or a service's settings.
const SCOPE: &str = r"^([a-z][a-z0-9_]{0,62}|services\.[A-Za-z0-9][A-Za-z0-9._-]{0,62})$";

/// The schema of a JSON Schema with keywords of our own: other ones it must not have, for a `sekret` would go unnoticed.
fn form(description: &str, own: &Value, required: &[&str]) -> Schema {
    json_schema!({
        "description": description,
        "type": "object",
        "allOf": [{ "$ref": "https://json-schema.org/draft/2020-12/schema" }],
        "properties": own,
        "required": required,
        "unevaluatedProperties": false,
    })
}

impl JsonSchema for VariableManifest {
    fn schema_name() -> Cow<'static, str> {
        "VariableManifest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let own = json!({
            "scope": { "description": "Which entity the value belongs to: `site`, `platform`, `host`, …; `operation`; `hosts`, when each host has its own; `services.NAME`.",
                       "type": "string", "pattern": SCOPE },
            "secret": { "description": "Whether it must be sealed.", "type": "boolean" },
            "optional": { "description": "Whether it may be absent without a default.", "type": "boolean" },
            "unit": { "description": "What a number counts: `megabytes`, `seconds`, …", "type": "string" },
        });
        form("A variable: a JSON Schema (2020-12) with four more keywords.", &own, &["scope"])
    }
}

impl JsonSchema for OutputManifest {
    fn schema_name() -> Cow<'static, str> {
        "OutputManifest".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let own = json!({
            "secret": { "description": "Whether it is a text that is sealed before it is recorded.", "type": "boolean" },
            "optional": { "description": "Whether the Task may succeed without it.", "type": "boolean" },
            "unit": { "description": "What a number counts: `megabytes`, `seconds`, …", "type": "string" },
            "fresh_seconds": { "description": "For how long it is to be believed, in seconds; for ever when absent.",
                               "type": "integer", "minimum": 1 },
        });
        form("A document that a Task hands over: a JSON Schema (2020-12) with four more keywords.", &own, &[])
    }
}

fn validator_of<T: JsonSchema>() -> Validator {
    let form = T::json_schema(&mut SchemaGenerator::default());
    jsonschema::validator_for(form.as_value()).expect("the form of a manifest's values is a schema")
}

static VARIABLE: LazyLock<Validator> = LazyLock::new(validator_of::<VariableManifest>);
static OUTPUT: LazyLock<Validator> = LazyLock::new(validator_of::<OutputManifest>);

/// What is wrong with how a value is declared, each after its name.
fn unfit(map: &Map<String, Value>, form: &Validator) -> Vec<String> {
    let value = Value::Object(map.clone());
    let unknown = |error: &jsonschema::ValidationError<'_>| error.kind().keyword() == "unevaluatedProperties";
    let (unknown, mut wrong): (Vec<_>, Vec<_>) = form.iter_errors(&value).partition(unknown);
    // Beside a wrong keyword the right ones count as unknown, too.
    if wrong.is_empty() {
        wrong = unknown;
    }
    let said = |error: jsonschema::ValidationError<'_>| {
        format!("{}: {error}", error.instance_path().to_string().replace('/', "."))
    };
    let mut wrong: Vec<_> = wrong.into_iter().map(said).collect();
    // What the form does not say, such as a pattern that is none.
    if wrong.is_empty()
        && let Err(error) = jsonschema::validator_for(&schema(map))
    {
        wrong.push(format!(" is not a JSON Schema: {error}"));
    }
    wrong
}

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
    /// What is wrong with a value that is not sealed: where in it, as a JSON pointer, and what was expected there.
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

    /// What is wrong with it, each after its name.
    pub(super) fn check(&self) -> Vec<String> {
        match self.scope() {
            None => return vec![" has no scope: say which entity it belongs to, such as site".to_owned()],
            Some(scope) if scope.starts_with("hosts.") => {
                return vec![format!(
                    ".scope: a host's name, as in {scope}, has no place in a manifest; with `hosts` each host has a value of its own"
                )];
            }
            Some(_) => {}
        }
        let mut wrong = unfit(&self.0, &VARIABLE);
        if wrong.is_empty()
            && self.default().is_some_and(|default| !jsonschema::is_valid(&schema(&self.0), default))
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
        let mut wrong = unfit(&self.0, &OUTPUT);
        if self.secret() && self.0.get("type").and_then(Value::as_str) != Some("string") {
            wrong.push(" is a secret, so its type must be string".to_owned());
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

    #[test]
    fn what_is_wrong_with_a_variable_is_said() {
        let wrong = |value| serde_json::from_value::<VariableManifest>(value).unwrap().check().join("; ");
        for (variable, part) in [
            (
                json!({"type": "string", "scope": "site", "unit": "bytes", "secret": true, "optional": false}),
                "",
            ),
            (
                json!({"scope": "services.php-fpm", "$comment": "x", "format": "uri", "items": true, "oneOf": [{}]}),
                "",
            ),
            (json!({"type": "string"}), "has no scope"),
            (json!({"scope": "hosts.web1"}), ".scope: a host's name, as in hosts.web1"),
            (json!({"scope": "Site"}), ".scope: \"Site\" does not match"),
            (json!({"type": "strnig", "scope": "site"}), ".type: \"strnig\""),
            (json!({"scope": "site", "sekret": true}), "'sekret' was unexpected"),
            (json!({"scope": "site", "secret": "yes"}), ".secret: \"yes\" is not of type"),
            (json!({"scope": "site", "pattern": "("}), "is not a JSON Schema"),
            (json!({"scope": "site", "type": "string", "default": 1}), "the default does not fit"),
        ] {
            let said = wrong(variable);
            assert!(if part.is_empty() { said.is_empty() } else { said.contains(part) }, "{part:?}: {said}");
        }
    }
}
