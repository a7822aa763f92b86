//! A catalog as it comes over the broker, perhaps from a newer version.

use std::collections::BTreeMap;

use aegir_protocol::message::{CatalogMessage, Message};
use aegir_protocol::name::RoleName;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::catalog::{Catalog, Role};
use crate::lenient;

impl Message for Catalog {
    const SCHEMA: &'static str = CatalogMessage::SCHEMA;
}

impl<'de> Deserialize<'de> for Catalog {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        CatalogMessage::deserialize(deserializer).map(Self::from)
    }
}

impl From<CatalogMessage> for Catalog {
    /// What this version does not know of a role is ignored. A role that can't be read even so is left out, and the
    /// others can be used.
    fn from(message: CatalogMessage) -> Self {
        let CatalogMessage { backend, node, recipient, digest, roles: received, mut left_out } = message;
        let mut roles = BTreeMap::new();
        for (name, role) in received {
            match read(&name, role) {
                Ok((name, role)) => drop(roles.insert(name, role)),
                Err(why) => {
                    let reason = format!("this version of relayd can't read it, a newer one may: {why}");
                    left_out.entry(name).or_default().push(reason);
                }
            }
        }
        Self { backend, node, recipient, digest, roles, left_out }
    }
}

fn read(name: &str, role: Value) -> Result<(RoleName, Role), String> {
    let role = lenient::read(role).map_err(|error| error.to_string())?;
    Ok((name.parse().map_err(|error| format!("{error}"))?, role))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use aegir_protocol::message::{ToFrontend, decode_to_frontend};

    fn role() -> Value {
        let operation = json!({
            "title": "Run", "tasks": ["a", "b"], "retry": "safe", "retries": {"attempts": 2, "backoff_seconds": 1},
            "locks": [{"kind": "host", "variable": "word", "mode": "shared"}], "dangerous": false,
        });
        let tasks = json!({
            "a": {"title": "A", "ansible": {"task_file": "a.yml"}, "variables": ["word"], "outputs": {"size": {"type": "integer"}}},
            "b": {"title": "B", "shell": {"argv": ["/bin/true", {"variable": "word"}], "where": "dispatcher"}, "variables": ["word"]},
            "c": {"title": "C", "plugin": {"runner": "note", "verb": "delete", "with": {"x": 1}}, "variables": []},
        });
        json!({"digest": "2", "manifest": {
            "schema": "aegir.role/0", "title": "T", "targets": ["site"], "operations": {"run": operation}, "tasks": tasks,
            "variables": {"word": {"type": "string", "scope": "site"}},
        }})
    }

    fn catalog(roles: &Value) -> Value {
        json!({"backend": "b", "node": "n", "recipient": "r", "digest": "1", "roles": roles, "left_out": {"x": ["y"]}})
    }

    fn received(body: &Value) -> Catalog {
        let message = json!({"schema": "aegir.catalog/0", "body": body}).to_string();
        match decode_to_frontend(None, &Bytes::from(message)).unwrap() {
            ToFrontend::Catalog(catalog, document) => {
                assert_eq!(serde_json::from_str::<Value>(&document).unwrap(), *body, "it is kept as it came");
                (*catalog).into()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Adds a word to every object that is no map of names.
    fn age(value: &mut Value, of: &str) {
        let is_map = ["roles", "left_out", "operations", "tasks", "variables", "outputs"].contains(&of);
        match value {
            Value::Object(fields) => {
                // A word of a command line is a form of its own.
                let is_word = of == "argv";
                for (name, value) in fields.iter_mut() {
                    age(value, if is_map { "" } else { name });
                }
                if !is_map && !is_word {
                    fields.insert("from_the_future".to_owned(), json!({"a": [1]}));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| age(item, of)),
            _ => {}
        }
    }

    #[test]
    fn a_catalog_from_the_future_is_read_without_what_is_not_known() {
        let today = catalog(&json!({"one": role()}));
        let mut future = today.clone();
        age(&mut future, "");
        let aged = future.to_string().matches("from_the_future").count();
        assert!(aged > 12, "{aged} of {future}");
        let (mut read, today) = (received(&future), received(&today));
        // What is said of a value is a JSON Schema, and kept whole.
        for role in read.roles.values_mut() {
            for variable in role.manifest.variables.values_mut() {
                variable.0.remove("from_the_future").unwrap();
            }
            let tasks = role.manifest.tasks.values_mut();
            for output in tasks.flat_map(|task| task.outputs.values_mut()) {
                output.0.remove("from_the_future").unwrap();
            }
            let plugins = role.manifest.tasks.values_mut().filter_map(|task| task.plugin.as_mut());
            plugins.for_each(|plugin| drop(plugin.settings.remove("from_the_future").unwrap()));
        }
        assert_eq!(read, today);
    }

    #[test]
    fn a_role_that_can_not_be_read_is_left_out_and_the_others_are_not() {
        let mut strange = role();
        strange["manifest"]["operations"]["run"]["retry"] = json!("perhaps");
        let read = received(&catalog(&json!({"one": role(), "two": strange, "Not a name": role(), "x": 1})));
        assert_eq!(read.roles.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["one"]);
        let why = |name: &str| read.left_out[name].join("; ");
        assert!(why("two").contains("unknown variant `perhaps`"), "{}", why("two"));
        assert!(why("Not a name").contains("can't read it"), "{}", why("Not a name"));
        assert!(why("x").starts_with("y; "), "{}", why("x"));
    }

    #[test]
    fn where_a_person_writes_an_unknown_word_is_refused() {
        let mut manifest = role()["manifest"].take();
        manifest["operations"]["run"]["retrys"] = json!({});
        assert!(serde_json::from_value::<crate::manifest::Manifest>(manifest).is_err());
    }
}
