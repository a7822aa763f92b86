//! The walls between the parts: which part may name which dependency, and what every file must say.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Each package of the workspace with the names of what it depends on, by kind: `normal`, `dev`, `build`.
fn packages() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut packages = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let mut kinds: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for dependency in package["dependencies"].as_array().unwrap() {
            let kind = dependency["kind"].as_str().unwrap_or("normal").to_owned();
            kinds.entry(kind).or_default().insert(dependency["name"].as_str().unwrap().to_owned());
        }
        packages.insert(package["name"].as_str().unwrap().to_owned(), kinds);
    }
    packages
}

fn depends(kinds: &BTreeMap<String, BTreeSet<String>>, on: &str) -> bool {
    kinds.values().any(|names| names.contains(on))
}

/// Every file below the root with one of these endings, by its path from the root.
fn files(endings: &[&str]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![root()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if entry.file_type().unwrap().is_dir() {
                if name != "target" && !name.starts_with('.') {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let inside = path.strip_prefix(root()).unwrap().to_owned();
                found.insert(inside, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Whether code, not a comment, uses a crate.
fn names_crate(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let used = [format!("use {name}::"), format!("use {name};"), format!("extern crate {name}")];
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).any(|code| {
        let stands_alone = |at: usize| {
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '-')
        };
        used.iter().any(|used| code.contains(used))
            || code.match_indices(&path).any(|(at, _)| stands_alone(at))
            || code.contains(&format!("#[{name}("))
    })
}

#[test]
fn each_dangerous_dependency_has_one_owner() {
    let packages = packages();
    let sources = files(&[".rs"]);
    for (dependency, package, place) in [
        ("lapin", "aegir-amqp", "crates/amqp"),
        ("openssh", "aegir-minions", "crates/minions"),
        ("reqwest", "aegir-client", "crates/client"),
        ("sqlx", "relayd", "relayd/src/store"),
    ] {
        for (name, kinds) in &packages {
            assert!(
                name == package || !depends(kinds, dependency),
                "{name} depends on {dependency}: only {package} may"
            );
        }
        for (path, text) in &sources {
            assert!(
                path.starts_with(place) || !names_crate(text, dependency),
                "{} names {dependency}: only {place} may",
                path.display()
            );
        }
    }
}

#[test]
fn the_daemons_do_not_depend_on_each_other() {
    let packages = packages();
    for (from, to) in [("relayd", "dispatcherd"), ("dispatcherd", "relayd")] {
        let mut open = vec![from];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(kinds) = packages.get(name) else { continue };
            if !seen.insert(name) {
                continue;
            }
            assert!(!depends(kinds, to), "{from} depends on {to} through {name}");
            open.extend(kinds.values().flatten().map(String::as_str));
        }
    }
}

#[test]
fn what_is_said_has_no_runtime_and_does_no_io() {
    const NOT: [&str; 9] = [
        "tokio",
        "tokio-util",
        "tokio-stream",
        "futures-util",
        "rustix",
        "reqwest",
        "axum",
        "tracing",
        "anyhow",
    ];
    let packages = packages();
    for package in ["aegir-protocol", "aegir-catalog", "aegir-api"] {
        for name in NOT {
            assert!(!packages[package]["normal"].contains(name), "{package} depends on {name}");
        }
    }
    let said = |path: &Path| {
        ["crates/protocol/src", "crates/catalog/src", "crates/api/src"]
            .iter()
            .any(|own| path.starts_with(own))
    };
    for (path, text) in files(&[".rs"]).iter().filter(|(path, _)| said(path)) {
        // Tests may read golden files.
        let is_test = path.to_string_lossy().ends_with("tests.rs");
        let code = if is_test { "" } else { text.split("#[cfg(test)]").next().unwrap_or_default() };
        for word in ["std::fs", "std::net", "std::io::", "std::process", "std::thread"] {
            assert!(!code.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn the_test_kit_is_for_tests_and_chores_only() {
    for (name, kinds) in packages() {
        let normal = kinds.get("normal").is_some_and(|names| names.contains("aegir-testkit"));
        assert!(
            !normal || name == "xtask" || name == "aegir-tests",
            "{name} depends on aegir-testkit outside its tests"
        );
    }
}

#[test]
fn every_package_takes_the_workspace_s_lints() {
    for (path, text) in files(&["Cargo.toml"]) {
        let package = text.contains("[package]");
        assert!(!package || text.contains("[lints]\nworkspace = true"), "{} has no lints", path.display());
    }
}

#[test]
fn what_ansible_loads_says_its_licence() {
    const LINE: &str = "# SPDX-License-Identifier: GPL-3.0-or-later";
    // The benchmark's own scripts, the documentation's examples of runners, and what looks at templates with Jinja alone are
    // no plug-ins of it.
    let others = |path: &Path| {
        ["crates/xtask", "docs/howto/runners", "crates/role/src/inspect"]
            .iter()
            .any(|own| path.starts_with(own))
    };
    let loaded = files(&[".py"]).into_iter().filter(|(path, _)| !others(path));
    for (path, text) in loaded {
        let head = text.lines().take(3).collect::<Vec<_>>();
        assert!(head.contains(&LINE), "{} does not say `{LINE}` in its first lines", path.display());
    }
}

#[test]
fn nothing_is_left_to_do_in_the_sources() {
    // Put together here, so that this file does not hold them.
    let words = [["to", "do!"].concat(), ["unimple", "mented!"].concat(), ["FIX", "ME"].concat()];
    for (path, text) in files(&[".rs", ".py", ".yml", ".j2"]) {
        for word in &words {
            assert!(!text.contains(word.as_str()), "{} holds {word}", path.display());
        }
    }
}

/// Wall clocks decide nothing on a node: a clock that is set back must not hold anything up, one that is set forward
/// must not take anything away.
#[test]
fn a_node_reads_the_wall_clock_only_for_people_and_for_pruning() {
    let allowed = BTreeMap::from([
        ("dispatcherd/src/app.rs", "for pruning what is over; compared with the times of files"),
        ("dispatcherd/src/heartbeat.rs", "for people"),
        ("dispatcherd/src/blocked_starts.rs", "for people"),
        ("dispatcherd/src/journal/ended.rs", "for people"),
        ("crates/transcript/src/writer.rs", "for people"),
    ]);
    let clocks = ["SystemTime::now", "Timestamp::now", "Zoned::now", "CLOCK_REALTIME"];
    for (path, text) in files(&[".rs"]) {
        let path = path.to_string_lossy().into_owned();
        let of_a_node = [
            "dispatcherd/src/",
            "crates/attempt/src/",
            "crates/minions/src/",
            "crates/runner/src/",
            "crates/transcript/src/",
        ]
        .iter()
        .any(|start| path.starts_with(start));
        if !of_a_node || path.ends_with("tests.rs") || allowed.contains_key(path.as_str()) {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap();
        let read = clocks.iter().find(|clock| code.contains(**clock));
        assert!(read.is_none(), "{path} reads the wall clock ({read:?}): use tokio's or std's Instant");
    }
}
