//! The add-on keeps to DDEV's conventions: <https://docs.ddev.com/en/stable/users/extend/creating-add-ons/>.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

fn addon() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ddev").canonicalize().unwrap()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(addon().join(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    yaml_serde::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What `ddev add-on get` copies, by its path from the add-on's root.
fn installed() -> BTreeSet<String> {
    let install = yaml("install.yaml");
    install["project_files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file.as_str().unwrap().to_owned())
        .collect()
}

/// The files in one of the add-on's directories, by their paths from its root.
fn files(directory: &str) -> Vec<String> {
    let entries = std::fs::read_dir(addon().join(directory)).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    names.map(|name| Path::new(directory).join(name).to_str().unwrap().to_owned()).collect()
}

fn composes() -> Vec<String> {
    files("").into_iter().filter(|name| name.starts_with("docker-compose.")).collect()
}

#[test]
fn everything_is_installed_and_nothing_that_is_not_there() {
    let known =
        ["name", "ddev_version_constraint", "pre_install_actions", "project_files", "removal_actions"];
    let install = yaml("install.yaml");
    assert!(keys(&install).is_subset(&BTreeSet::from(known)), "{:?}", keys(&install));
    let installed = installed();
    for file in &installed {
        assert!(addon().join(file).exists(), "install.yaml names {file}, which is not there");
    }
    let configs = files("").into_iter().filter(|name| name.starts_with("config."));
    let commands = ["commands/host", "commands/web", "web-build"].into_iter().flat_map(files);
    for file in composes().into_iter().chain(configs).chain(commands) {
        assert!(installed.contains(&file), "install.yaml does not name {file}");
    }
}

#[test]
fn ddev_may_replace_and_remove_what_it_has_installed() {
    for file in installed() {
        let path = addon().join(&file);
        let files = if path.is_dir() { [files(&file), files("aegir/roles")].concat() } else { vec![file] };
        for file in files {
            assert!(read(&file).contains("#ddev-generated"), "{file} does not say that DDEV may replace it");
        }
    }
}

#[test]
fn commands_say_what_they_are() {
    for directory in ["commands/host", "commands/web"] {
        for file in files(directory) {
            let text = read(&file);
            let name = file.rsplit('/').next().unwrap();
            let mode = std::fs::metadata(addon().join(&file)).unwrap().permissions().mode();
            assert!(mode & 0o111 == 0o111, "{file} is not executable");
            assert!(text.starts_with("#!/usr/bin/env bash\n"), "{file}");
            for annotation in ["Description", "Example"] {
                assert!(text.contains(&format!("\n## {annotation}: ")), "{file} has no {annotation}");
            }
            assert!(
                text.contains(&format!("\n## Usage: {name} ")),
                "{file} is called otherwise in its usage"
            );
        }
    }
}

#[test]
fn services_are_ddevs() {
    let mut declared = BTreeSet::new();
    for file in composes() {
        if let Some(volumes) = yaml(&file)["volumes"].as_object() {
            declared.extend(volumes.keys().cloned());
        }
    }
    for file in composes() {
        let compose = yaml(&file);
        assert!(keys(&compose).is_subset(&BTreeSet::from(["services", "volumes"])), "{file}");
        for (name, service) in compose["services"].as_object().unwrap() {
            let mounts = service["volumes"].as_array().unwrap().iter().map(|mount| mount.as_str().unwrap());
            for volume in mounts.filter_map(|mount| mount.split(':').next()) {
                let path = volume.starts_with(['.', '$']);
                assert!(
                    path || declared.contains(volume),
                    "{file} mounts {volume}, which is declared nowhere"
                );
            }
            if name == "web" {
                continue;
            }
            assert_eq!(file, format!("docker-compose.{name}.yaml"));
            assert_eq!(service["container_name"], format!("ddev-${{DDEV_SITENAME}}-{name}"));
            assert_eq!(service["restart"], "no");
            assert_eq!(service["labels"]["com.ddev.site-name"], "${DDEV_SITENAME}");
            assert_eq!(service["labels"]["com.ddev.approot"], "${DDEV_APPROOT}");
            // What the router is to find.
            let environment = service["environment"].as_array().cloned().unwrap_or_default();
            let has = |name: &str| environment.iter().any(|line| line.as_str().unwrap().starts_with(name));
            assert_eq!(has("HTTP_EXPOSE="), service["expose"].is_array(), "{name}");
            assert_eq!(has("HTTP_EXPOSE="), has("VIRTUAL_HOST=${DDEV_HOSTNAME}"), "{name}");
        }
    }
}

#[test]
fn the_config_has_keys_that_ddev_knows() {
    // Those of https://raw.githubusercontent.com/ddev/ddev/main/pkg/ddevapp/schema.json that are used here.
    assert_eq!(keys(&yaml("config.aegir.yaml")), BTreeSet::from(["web_environment"]));
}
