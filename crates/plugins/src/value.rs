//! Where a role takes a value from, as its manifest says under `with`.

use aegir_catalog::runner::Input;
use aegir_protocol::name::{DocumentName, InvalidName, TaskName, VariableName};
use serde::Deserialize;
use serde_json::Value;

/// Where a value comes from. It is data: nothing reads it as a template.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueSource {
    /// One of the Task's variables.
    Variable(VariableName),
    /// What the Operation is about.
    Target(TargetPart),
    /// What a Task before has handed over.
    Output(OutputReference),
}

/// A part of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TargetPart {
    /// `site`.
    Kind,
    /// The frontend's.
    Id,
    /// What people call it.
    Name,
}

/// A document that a Task has handed over: `TASK.DOCUMENT`, as in the words of a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct OutputReference {
    task: TaskName,
    document: DocumentName,
}

impl TryFrom<String> for OutputReference {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (task, document) =
            text.split_once('.').ok_or_else(|| format!("TASK.DOCUMENT is expected, not {text:?}"))?;
        let task = task.parse().map_err(|error: InvalidName| error.to_string())?;
        Ok(Self { task, document: document.parse().map_err(|error: InvalidName| error.to_string())? })
    }
}

impl ValueSource {
    /// The value; `None` where an optional variable or document is not there.
    ///
    /// # Errors
    /// What is wrong with the role, where it means a variable that the Task can't have: a misspelt one would otherwise leave
    /// what the role's file has as an example.
    pub(crate) fn of(&self, input: &Input) -> Result<Option<Value>, String> {
        Ok(match self {
            Self::Variable(name) => match input.variables.get(name) {
                None if !input.absent.contains(name) => {
                    return Err(format!(
                        "`with` of its Task {0} names the variable {name}, which the Task does not get: add it to \
                         tasks.{0}.variables, or correct the name",
                        input.task
                    ));
                }
                value => value.cloned(),
            },
            Self::Target(TargetPart::Kind) => Some(input.target.kind.as_str().into()),
            Self::Target(TargetPart::Id) => Some(input.target.id.as_str().into()),
            Self::Target(TargetPart::Name) => Some(input.target.name.as_str().into()),
            Self::Output(OutputReference { task, document }) => {
                input.outputs.get(task).and_then(|documents| documents.get(document)).cloned()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_come_from_variables_the_target_and_outputs() {
        let input: Input = serde_json::from_value(json!({
            "protocol": "aegir.runner/0", "verb": "apply", "task_verb": "apply", "operation": "01890a5d-ac96-774b-bcce-b302099a8057",
            "name": "example.run", "attempt": 1, "target": {"kind": "site", "id": "s1", "name": "example.test"},
            "role": "example", "role_directory": "/", "task": "run", "hosts": [], "with": {},
            "variables": {"count": 3}, "absent": ["optional"], "outputs": {"infra": {"address": {"ip": "192.0.2.1"}}},
        }))
        .unwrap();
        for (source, value) in [
            (json!({"variable": "count"}), Some(json!(3))),
            (json!({"variable": "optional"}), None),
            (json!({"target": "id"}), Some(json!("s1"))),
            (json!({"target": "name"}), Some(json!("example.test"))),
            (json!({"target": "kind"}), Some(json!("site"))),
            (json!({"output": "infra.address"}), Some(json!({"ip": "192.0.2.1"}))),
            (json!({"output": "infra.nothing"}), None),
        ] {
            let parsed: ValueSource = serde_json::from_value(source.clone()).unwrap();
            assert_eq!(parsed.of(&input).unwrap(), value, "{source}");
        }
        let misspelt: ValueSource = serde_json::from_value(json!({"variable": "cuont"})).unwrap();
        assert!(misspelt.of(&input).unwrap_err().contains("the variable cuont, which the Task does not get"));
        for wrong in
            [json!({"environment": "HOME"}), json!({"output": "infra"}), json!({"output": "infra.a b"})]
        {
            assert!(serde_json::from_value::<ValueSource>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
