//! The schema of manifests, which editors read, says what the loader says.

use std::path::{Path, PathBuf};

use crate::manifest::Manifest;
use jsonschema::Validator;
use serde_json::{Value, json};

fn validator() -> Validator {
    jsonschema::validator_for(crate::schema::role().as_value()).unwrap()
}

/// The manifests below a directory.
fn manifests(directory: &Path) -> Vec<PathBuf> {
    let roles =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path().join("meta/aegir.yml"));
    roles.filter(|path| path.is_file()).collect()
}

#[test]
fn every_manifest_fits_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // What `aegir role new` makes is below crates/role.
    let role_paths = ["roles", "tests/roles", "dispatcherd/tests/roles", "crates/role"];
    let found: Vec<_> = role_paths.iter().flat_map(|place| manifests(&root.join(place))).collect();
    assert!(found.len() > 10, "{found:?}");
    let validator = validator();
    for path in found {
        let manifest: Value = yaml_serde::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let wrong: Vec<_> = validator.iter_errors(&manifest).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
    }
}

#[test]
fn what_is_wrong_with_a_manifest_both_say() {
    let good = json!({
        "schema": "aegir.role/0", "title": "T", "targets": ["site"],
        "operations": {"run": {"title": "Run", "tasks": ["a"]}},
        "tasks": {"a": {"variables": ["word"], "outputs": {"size": {"type": "integer", "unit": "bytes"}}}},
        "variables": {"word": {"type": "string", "scope": "site", "maxLength": 3}},
    });
    let validator = validator();
    let wrong = |manifest: &Value| {
        let loaded = serde_json::from_value::<Manifest>(manifest.clone());
        let said = loaded.map_or_else(|error| error.to_string(), |manifest| manifest.check().join("; "));
        (!validator.is_valid(manifest), !said.is_empty(), said)
    };
    assert_eq!(wrong(&good), (false, false, String::new()));
    for (pointer, value) in [
        ("/schema", json!("aegir.role/9")),
        ("/targets", json!(["Site"])),
        ("/operations/run", json!({"titel": "Run", "title": "Run", "tasks": ["a"]})),
        ("/operations/run", json!({"title": "Run", "tasks": ["a"], "retry": "perhaps"})),
        ("/operations/run", json!({"tasks": ["a"]})),
        ("/operations/run", json!({"title": "Run"})),
        ("/tasks/a/service", json!([])),
        ("/tasks/a/timeout_seconds", json!(0)),
        ("/tasks/a/outputs/size", json!({"type": "integer", "fresh_seconds": 0})),
        ("/tasks/a/outputs/size", json!({"type": "integer", "scope": "site"})),
        ("/variables/word", json!({"type": "string"})),
        ("/variables/word", json!({"type": "strnig", "scope": "site"})),
        ("/variables/word", json!({"type": "string", "scope": "site", "sekret": true})),
        ("/variables/word", json!({"type": "string", "scope": "site", "secret": "yes"})),
        ("/variables/word", json!({"type": "string", "scope": "hosts.web1"})),
        ("/variables/word", json!("string")),
    ] {
        let mut manifest = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        manifest.pointer_mut(parent).unwrap()[key] = value;
        let (schema, loader, said) = wrong(&manifest);
        assert!(schema && loader, "{pointer}: schema {schema}, loader {loader}: {said}; {manifest}");
    }
}
