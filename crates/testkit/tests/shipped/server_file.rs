//! The module `codebase_server_file` and a server that does not run: nothing starts it, and nothing waits for it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What the module says, of a server whose test and reload leave a file each.
fn has(directory: &Path, state: &str, process: Option<&str>) -> String {
    let at = |name: &str| directory.join(name);
    let mut arguments = json!({
        "path": at("site.conf"), "state": state, "content": "a site",
        "test": ["touch", at("tested")], "reload": ["touch", at("reloaded")],
    });
    arguments["process"] = process.map_or(Value::Null, Value::from);
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles/codebase/library");
    let said = Command::new("ansible")
        .current_dir(directory)
        .args(["localhost", "-c", "local", "-m", "codebase_server_file", "-a", &arguments.to_string()])
        .env("ANSIBLE_LIBRARY", library)
        .env("ANSIBLE_NOCOLOR", "true")
        .output()
        .unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn a_server_that_does_not_run_is_not_told_to_reload_and_what_goes_goes_without_it() {
    let directory = tempfile::tempdir().unwrap();
    let there = |name: &str| directory.path().join(name).exists();
    let stopped = Some("no-such-server");

    let said = has(directory.path(), "present", stopped);
    assert!(said.contains("the server does not run: there is no process no-such-server"), "{said}");
    assert!(there("site.conf") && there("tested") && !there("reloaded"), "{said}");

    // It runs by now, and is owed the reload.
    let said = has(directory.path(), "present", None);
    assert!(there("reloaded") && said.contains("\"changed\": true"), "{said}");

    for name in ["tested", "reloaded"] {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    let said = has(directory.path(), "absent", stopped);
    assert!(said.contains("\"changed\": true"), "{said}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{said}");
}
