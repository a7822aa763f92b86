//! What a plan says, from `show -json`: <https://opentofu.org/docs/internals/json-format/>.

use std::collections::BTreeMap;

use aegir_protocol::name::PlanHash;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tool::Tool;
use crate::error::Error;
use crate::mask::HIDDEN;
use crate::task::Task;

/// A plan that was made.
#[derive(Debug)]
pub(super) struct TofuPlan {
    pub(super) hash: PlanHash,
    pub(super) changes_something: bool,
    resources: Vec<Resource>,
}

/// The plan's representation, as far as it is of use.
#[derive(Debug, Deserialize)]
struct Shown {
    #[serde(default)]
    resource_changes: Vec<Resource>,
    #[serde(default)]
    output_changes: BTreeMap<String, Change>,
    #[serde(default)]
    configuration: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Resource {
    address: String,
    #[serde(default)]
    r#type: String,
    change: Change,
}

#[derive(Clone, Debug, Deserialize)]
struct Change {
    actions: Vec<String>,
    #[serde(default)]
    before: Value,
    #[serde(default)]
    after: Value,
    #[serde(default)]
    after_unknown: Value,
    #[serde(default)]
    before_sensitive: Value,
    #[serde(default)]
    after_sensitive: Value,
}

impl TofuPlan {
    /// Makes a plan, and the hash over all that it depends on.
    pub(super) fn make(tool: &mut Tool, delete: bool, task: &mut Task) -> Result<Self, Error> {
        task.doing(30, "Make the plan")?;
        let (changes_something, text) = tool.plan(delete)?;
        let shown: Shown = tool.planned()?;
        // A provider may give a value back without its mark, and then the program shows it.
        for Resource { change, .. } in &shown.resource_changes {
            tool.hide(&marked(&change.before, &change.before_sensitive));
            tool.hide(&marked(&change.after, &change.after_sensitive));
        }
        print!("{}", tool.hidden(&text));
        let hash = hash(tool, delete, &shown)?;
        Ok(Self { hash, changes_something, resources: shown.resource_changes })
    }

    fn changing(&self) -> impl Iterator<Item = &Resource> {
        let still = |action: &String| action == "no-op" || action == "read";
        self.resources.iter().filter(move |resource| !resource.change.actions.iter().all(still))
    }

    /// For programs: which resources, and which of their attributes, without a value.
    pub(super) fn listed(&self) -> Value {
        self.changing()
            .map(|Resource { address, r#type, change }| {
                json!({"address": address, "type": r#type, "actions": change.actions,
                    "attributes": change.attributes()})
            })
            .collect()
    }

    /// A step for each.
    pub(super) fn report(&self, tool: &Tool, task: &mut Task) -> Result<(), Error> {
        for Resource { address, change, .. } in self.changing() {
            let name = format!("{} {address}", change.actions.join(" and "));
            let before = hidden(&change.before, &change.before_sensitive);
            let after = unknown(hidden(&change.after, &change.after_sensitive), &change.after_unknown);
            let [before, after] = [before, after].map(|side| tool.hidden(&text(&side)));
            task.step(&name, true, Some(json!({"before": before, "after": after, "after_header": address})))?;
        }
        if self.changing().next().is_none() {
            task.step("All resources are as the configuration says", false, None)?;
        }
        Ok(())
    }
}

/// Over all that the plan depends on, but without what the configuration calls sensitive.
fn hash(tool: &Tool, delete: bool, shown: &Shown) -> Result<PlanHash, Error> {
    let mut inputs = tool.inputs.clone();
    inputs.add_value(&json!([delete, tool.state_version()?]));
    let declared = &shown.configuration["root_module"]["variables"];
    for (name, value) in tool.variables.iter().filter(|(name, _)| counts(&declared[name])) {
        inputs.add_value(&json!([name, value]));
    }
    let resources = shown.resource_changes.iter().map(|resource| (&resource.address, &resource.change));
    for (name, change) in resources.chain(&shown.output_changes) {
        let before = hidden(&change.before, &change.before_sensitive);
        let after = hidden(&change.after, &change.after_sensitive);
        let text = json!([name, change.actions, before, after]).to_string();
        inputs.add(tool.hidden(&text).as_bytes());
    }
    Ok(inputs.hash())
}

/// Whether a variable stands in the hash, from what the configuration says of it. Of one that it does not declare nobody says
/// whether it is secret, and no plan depends on it.
fn counts(declared: &Value) -> bool {
    declared.is_object() && declared["sensitive"] != true
}

impl Change {
    /// The names of those that change.
    fn attributes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = [&self.before, &self.after, &self.after_unknown]
            .into_iter()
            .flat_map(|value| value.as_object().into_iter().flatten())
            .filter(|(name, _)| self.before[name] != self.after[name] || self.is_unknown(name))
            .map(|(name, _)| name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn is_unknown(&self, name: &str) -> bool {
        holds_true(&self.after_unknown[name])
    }
}

/// The value without what the parallel structure `sensitive` marks with `true`.
fn hidden(value: &Value, sensitive: &Value) -> Value {
    match (value, sensitive) {
        (Value::Null, _) => Value::Null,
        (_, Value::Bool(true)) => HIDDEN.into(),
        (Value::Object(members), Value::Object(_)) => {
            members.iter().map(|(name, value)| (name.clone(), hidden(value, &sensitive[name]))).collect()
        }
        (Value::Array(items), Value::Array(marks)) => {
            let mark = |index| marks.get(index).unwrap_or(&Value::Null);
            items.iter().enumerate().map(|(index, item)| hidden(item, mark(index))).collect()
        }
        (value, _) => value.clone(),
    }
}

/// The parts of the value that the parallel structure `sensitive` marks with `true`.
fn marked(value: &Value, sensitive: &Value) -> Value {
    match (value, sensitive) {
        (_, Value::Bool(true)) => value.clone(),
        (Value::Object(members), Value::Object(marks)) => {
            let part =
                |(name, mark): (&String, &Value)| Some((name.clone(), marked(members.get(name)?, mark)));
            marks.iter().filter_map(part).collect()
        }
        (Value::Array(items), Value::Array(marks)) => {
            items.iter().zip(marks).map(|(item, mark)| marked(item, mark)).collect()
        }
        _ => Value::Null,
    }
}

/// Says of attributes that are only known afterwards that they are.
fn unknown(mut value: Value, marks: &Value) -> Value {
    if let (Some(members), Some(marks)) = (value.as_object_mut(), marks.as_object()) {
        for (name, mark) in marks.iter().filter(|(_, mark)| holds_true(mark)) {
            let known = members.get(name).is_some_and(|value| !value.is_null()) && *mark != true;
            if !known {
                members.insert(name.clone(), "(known afterwards)".into());
            }
        }
    }
    value
}

fn holds_true(mark: &Value) -> bool {
    match mark {
        Value::Bool(mark) => *mark,
        Value::Object(members) => members.values().any(holds_true),
        Value::Array(items) => items.iter().any(holds_true),
        Value::Null | Value::Number(_) | Value::String(_) => false,
    }
}

fn text(value: &Value) -> String {
    if value.is_null() { String::new() } else { yaml_serde::to_string(value).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sensitive_is_hidden_at_any_depth() {
        let value = json!({"a": 1, "b": {"c": "x", "d": ["y", "z"]}, "e": {"f": "v"}});
        let marks = json!({"b": {"c": true, "d": [false, true]}, "e": true});
        assert_eq!(
            hidden(&value, &marks),
            json!({"a": 1, "b": {"c": HIDDEN, "d": ["y", HIDDEN]}, "e": HIDDEN})
        );
        assert_eq!(marked(&value, &marks), json!({"b": {"c": "x", "d": [null, "z"]}, "e": {"f": "v"}}));
        assert_eq!(hidden(&value, &json!(false)), value);
        assert_eq!(hidden(&value, &json!(true)), json!(HIDDEN));
    }

    #[test]
    fn what_may_be_secret_is_not_in_the_hash() {
        let declared = json!({"a": {}, "b": {"default": 1}, "c": {"sensitive": true}});
        let counted: Vec<_> =
            ["a", "b", "c", "d"].into_iter().filter(|name| counts(&declared[name])).collect();
        assert_eq!(counted, ["a", "b"]);
        assert!(!counts(&Value::Null["a"]));
    }

    #[test]
    fn attributes_that_change_are_named_without_their_values() {
        let change: Change = serde_json::from_value(json!({
            "actions": ["update"],
            "before": {"id": "1", "input": "a", "same": true, "output": "a"},
            "after": {"id": "1", "input": "b", "same": true},
            "after_unknown": {"output": true, "same": {}},
        }))
        .unwrap();
        assert_eq!(change.attributes(), ["input", "output"]);
        let after = unknown(change.after.clone(), &change.after_unknown);
        assert_eq!(after, json!({"id": "1", "input": "b", "same": true, "output": "(known afterwards)"}));
    }
}
