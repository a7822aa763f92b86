//! What dispatcherd and a plug-in runner say to each other.
//!
//! A plug-in is a program that carries a Task out. It is started as `COMMAND VERB`, finds a [`Input`] as JSON on its
//! standard input, and writes [`Line`]s as JSON, one a line, on descriptor 3. What it prints is output of the Task, and
//! its exit code says how the Task went.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::manifest::{PluginVerb, VariableManifest};

use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::name::{DocumentName, OperationName, PlanHash, RoleName, TaskName, VariableName};
use aegir_protocol::operation::{Entity, Host, Target};
use aegir_protocol::record::StepStatus;

/// The version of all of this. A plug-in that does not know it ends with an exit code that is not 0.
pub const PROTOCOL: &str = "aegir.runner/0";

/// The descriptor that a plug-in writes lines on.
pub const DESCRIPTOR: u32 = 3;

/// How many seconds a plug-in that is called off has from SIGINT to SIGTERM, where the operator says nothing else.
pub const GRACE_SECONDS: u64 = 60;

/// What a plug-in is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Say what `apply` would change, and change nothing: the Task in a dry run.
    Plan,
    /// Bring it about.
    Apply,
    /// Take it away.
    Delete,
    /// See that nothing goes on that an ended `apply` or `delete` has begun elsewhere.
    Cancel,
}

impl Verb {
    /// The word on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Apply => "apply",
            Self::Delete => "delete",
            Self::Cancel => "cancel",
        }
    }
}

/// A Task, as a plug-in gets it. It may hold secrets in the clear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Input {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// As on the command line.
    pub verb: Verb,
    /// What the Task is to do when it is no dry run: what `plan` is a plan of.
    pub task_verb: PluginVerb,
    /// Which Operation. What must have the same name in every attempt is named after it.
    pub operation: OperationId,
    /// What that does.
    pub name: OperationName,
    /// Which try at it.
    pub attempt: Attempt,
    /// What it is about.
    pub target: Target,
    /// Of which role the Task is.
    pub role: RoleName,
    /// The role's files, as they were when the attempt was planned. Not to be written to.
    pub role_directory: String,
    /// Which Task of the role.
    pub task: TaskName,
    /// The hosts that it is for.
    pub hosts: Vec<Host>,
    /// Its variables, and no others.
    pub variables: BTreeMap<VariableName, Value>,
    /// Those that the manifest gives the Task as well, and that have no value. A name that is neither here nor among
    /// `variables` is none of the Task's.
    pub absent: Vec<VariableName>,
    /// How the manifest declares them, with those that have no value: which are secret, and which values fit.
    #[serde(default)]
    pub declared: BTreeMap<VariableName, VariableManifest>,
    /// What Tasks before it have handed over.
    pub outputs: BTreeMap<TaskName, BTreeMap<DocumentName, Value>>,
    /// Of a plan that was approved: the hash that `plan` gave for this Task. The plug-in looks whether it would give
    /// the same one now, before it changes anything, and otherwise fails with `plan_changed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<PlanHash>,
    /// What the role's manifest says to the plug-in.
    #[serde(rename = "with")]
    pub settings: Map<String, Value>,
}

impl Line {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none, or holds an integer that 64 bits do not: read as a floating-point number it would be another one.
    pub fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        let read = serde_json::from_slice(line)?;
        match long_integer(line) {
            Some(integer) => Err(serde::de::Error::custom(format!(
                "the integer {integer} has more than 64 bits: say it as a text"
            ))),
            None => Ok(read),
        }
    }
}

/// The first integer of a JSON document that is neither an `i64` nor a `u64`; at most forty bytes of it.
fn long_integer(document: &[u8]) -> Option<String> {
    let mut rest = document.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                while let Some(byte) = rest.next().filter(|&byte| byte != b'"') {
                    if byte == b'\\' {
                        rest.next();
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                let mut number = String::from(char::from(byte));
                while let Some(byte) =
                    rest.next_if(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
                {
                    number.push(char::from(byte));
                }
                let is_integer = !number.contains(['.', 'e', 'E']);
                if is_integer && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    number.truncate(40);
                    return Some(number);
                }
            }
            _ => {}
        }
    }
    None
}

/// What a plug-in says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    /// Must be the first.
    Greeting {
        /// [`PROTOCOL`].
        protocol: String,
        /// The plug-in's own, for people.
        version: String,
    },
    /// Something was done, or failed.
    Step {
        /// What, for people.
        name: String,
        /// How it went. After a failed one the plug-in ends with an exit code that is not 0.
        status: StepStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
        /// How long it took.
        #[serde(default)]
        duration_ms: u64,
        /// What there is to say. Of a failed step it may begin with a reason code, a colon and a space.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// Before and after.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<Value>,
    },
    /// A whole value for the frontend and for later Tasks: one of the Task's `outputs`.
    Document {
        name: DocumentName,
        /// What it is about, if not the target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entity: Option<Entity>,
        /// The value.
        value: Value,
    },
    /// What `apply` would change: once, by the verb `plan`.
    Plan {
        /// Of what is there now that the plan depends on, without secrets; a SHA-256 in hex will do.
        hash: PlanHash,
        /// The changes, as the plug-in documents them.
        #[serde(default)]
        changes: Value,
    },
    /// How far it is.
    Progress {
        /// 0 to 100.
        percent: u8,
        /// What is being done.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_of_more_than_64_bits_is_refused_and_not_read_as_another_one() {
        let read = |value: &str| {
            let line = format!(r#"{{"event": "document", "name": "quota", "value": {value}}}"#);
            Line::read(line.as_bytes()).map_err(|error| error.to_string())
        };
        for kept in ["18446744073709551615", "-9223372036854775808", "[-0, 1.5, 1e30, 1E+3, -2.5e-3]"] {
            assert!(read(kept).is_ok(), "{kept}");
        }
        assert!(read(r#"{"\\": "\" 18446744073709551616", "18446744073709551616": 1}"#).is_ok());
        for lost in ["18446744073709551616", "-9223372036854775809"] {
            for value in [lost.to_owned(), format!(r#"{{"a": ["\\", {lost}]}}"#)] {
                let why = read(&value).unwrap_err();
                assert_eq!(why, format!("the integer {lost} has more than 64 bits: say it as a text"));
            }
        }
        assert!(Line::read(b"{\"event\": \"document\"").is_err());
    }
}
