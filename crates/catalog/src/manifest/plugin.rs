//! What a task says to a plug-in under `with` that would show a secret: the plug-in's own words, of which only these are known here.

use serde_json::{Map, Value};

use crate::manifest::{Manifest, OutputManifest, VariableManifest};
use aegir_protocol::name::{DocumentName, TaskName, VariableName};

impl Manifest {
    /// Secrets in `record`, whose values are kept where others read them, and those that `set` puts elsewhere than into a Secret.
    pub(super) fn check_settings(&self, settings: &Map<String, Value>) -> Vec<String> {
        let is_secret = |name: &&str| {
            let variable = name.parse().ok().and_then(|name: VariableName| self.variables.get(&name));
            variable.is_some_and(VariableManifest::secret)
        };
        let items = |key: &str| settings.get(key).and_then(Value::as_array).into_iter().flatten();
        let recorded = items("record").filter_map(Value::as_str).filter(is_secret).map(|name| {
            format!(
                "plugin.with.record names {name}, a secret, which everybody could read who may read the record: leave it out, and \
                 let it be sent each time"
            )
        });
        let set = items("set").filter_map(|set| {
            let object = set["object"].as_str().filter(|object| !object.starts_with("Secret/"))?;
            let variable = set["value"]["variable"].as_str().filter(is_secret);
            let output = set["value"]["output"].as_str().filter(|output| self.is_secret_output(output));
            let name = variable.or(output)?;
            Some(format!(
                "plugin.with.set puts {name}, a secret, into {object}: only a Secret is for secrets"
            ))
        });
        recorded.chain(set).collect()
    }

    /// Of `TASK.DOCUMENT`.
    fn is_secret_output(&self, output: &str) -> bool {
        let Some((task, document)) = output.split_once('.') else { return false };
        let (Ok(task), Ok(document)) = (task.parse::<TaskName>(), document.parse::<DocumentName>()) else {
            return false;
        };
        let output = self.tasks.get(&task).and_then(|task| task.outputs.get(&document));
        output.is_some_and(OutputManifest::secret)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::MANIFEST_SCHEMA;

    #[test]
    fn a_secret_is_neither_recorded_nor_set_where_others_read_it() {
        let wrong = |settings: Value| {
            let manifest = json!({
                "schema": MANIFEST_SCHEMA, "title": "T", "targets": ["site"],
                "operations": {"deploy": {"title": "Deploy", "tasks": ["make", "deploy"]}},
                "tasks": {
                    "make": {"outputs": {"key": {"type": "string", "secret": true}, "name": {"type": "string"}}},
                    "deploy": {"variables": ["token", "port"], "plugin": {"runner": "cluster", "with": settings}},
                },
                "variables": {
                    "token": {"type": "string", "scope": "site", "secret": true, "optional": true},
                    "port": {"type": "integer", "scope": "site", "optional": true},
                },
            });
            serde_json::from_value::<Manifest>(manifest).unwrap().check().join("; ")
        };
        let set = |object: &str, value: Value| json!({"set": [{"object": object, "at": "/data/x", "value": value}]});
        for good in [
            json!({"record": ["port"]}),
            json!({"record": "token", "set": {"object": 1}}),
            set("Secret/x", json!({"variable": "token"})),
            set("Secret/x", json!({"output": "make.key"})),
            set("ConfigMap/x", json!({"output": "make.name"})),
            set("ConfigMap/x", json!({"variable": "port"})),
        ] {
            assert_eq!(wrong(good.clone()), "", "{good}");
        }
        for (bad, part) in [
            (json!({"record": ["port", "token"]}), "tasks.deploy: plugin.with.record names token, a secret"),
            (
                set("ConfigMap/x", json!({"variable": "token"})),
                "tasks.deploy: plugin.with.set puts token, a secret, into ConfigMap/x",
            ),
            (
                set("Deployment/x", json!({"output": "make.key"})),
                "puts make.key, a secret, into Deployment/x",
            ),
        ] {
            assert!(wrong(bad.clone()).contains(part), "{}", wrong(bad));
        }
    }
}
