//! Runs one Task of a role, in the form in which dispatcherd runs it: variables as a JSON file in which every
//! string is marked as unsafe, and `import_role` with the Task's file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aegir_testkit::{Nginx, Process};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::manifests::manifest;

/// The site of all tests.
pub(crate) const SITE: &str = "example.test";

/// A minion with nginx, a content root with one site, and the variables that deploy it.
pub(crate) struct PlayDirectory {
    pub(crate) directory: TempDir,
    pub(crate) nginx: Nginx,
    pub(crate) variables: Map<String, Value>,
    /// Settings by service and host.
    pub(crate) services: Value,
}

/// How a Task went.
#[derive(Debug)]
pub(crate) struct Played {
    pub(crate) ok: bool,
    pub(crate) changed: u32,
    pub(crate) output: String,
}

impl PlayDirectory {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(&directory.path().join("nginx")).await.unwrap();
        let content = directory.path().join("content").join(SITE);
        fs::create_dir_all(&content).unwrap();
        fs::write(content.join("index.html"), "<h1>one</h1>\n").unwrap();
        let variables = json!({
            "source": content, "root": directory.path().join("sites"), "mode": "user",
            "server_directory": nginx.directory(), "listen_addresses": ["127.0.0.1"],
            "listen_port": nginx.port(),
        });
        let Value::Object(variables) = variables else { unreachable!("it is an object") };
        Self { directory, nginx, variables, services: json!({}) }
    }

    pub(crate) fn source(&self) -> PathBuf {
        self.directory.path().join("content").join(SITE)
    }

    pub(crate) fn site(&self) -> PathBuf {
        self.directory.path().join("sites").join(SITE)
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.variables.insert(name.to_owned(), value.into());
    }

    /// The releases on the minion, and nothing that is left lying beside them.
    pub(crate) fn releases(&self) -> Vec<String> {
        let names = fs::read_dir(self.site().join("releases")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub(crate) async fn play(&self, task: &str) -> Played {
        self.play_with(task, &[]).await
    }

    pub(crate) async fn play_with(&self, task: &str, arguments: &[&str]) -> Played {
        play(self.directory.path(), "static_site", task, &self.variables, &self.services, arguments).await
    }
}

/// Runs a Task of a role. `content` in `directory` is the content root.
pub(crate) async fn play(
    directory: &Path,
    role: &str,
    task: &str,
    variables: &Map<String, Value>,
    services: &Value,
    arguments: &[&str],
) -> Played {
    let content = directory.join("content");
    let directory = tempfile::tempdir_in(directory).unwrap();
    let at = |name: &str| directory.path().join(name);
    let playbook = json!([{ "hosts": "all", "gather_facts": false, "tasks": [
        { "ansible.builtin.import_role": { "name": role, "tasks_from": format!("{task}.yml") } },
    ] }]);
    let inventory = json!({ "all": { "hosts": { "web1": {
        "ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3",
    } } } });
    let mut all = json!({ "aegir": {
        "operation": "019a0000-0000-7000-8000-000000000001", "name": format!("{role}.deploy"), "attempt": 1,
        "dry_run": false, "target": { "kind": "site", "id": SITE, "name": SITE }, "task": task,
        "hosts": { "web1": { "address": "127.0.0.1", "port": 22, "services": {} } }, "services": services, "content_roots": [content],
    } });
    // As dispatcherd does it: what the manifests list of the Task and of those that it builds on, and nothing else, with
    // their defaults.
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (roles, ours) = (repository.join("roles"), repository.join("dispatcherd/ansible"));
    let (mut of, mut task) = (role.to_owned(), task.parse().unwrap());
    loop {
        let manifest = manifest(&roles.join(&of));
        let declared = &manifest.tasks[&task];
        for name in &declared.variables {
            let given = variables.get(name.as_str()).or_else(|| manifest.variables[name].default());
            if let Some(value) = given {
                all[format!("{of}_{name}")] = value.clone();
            }
        }
        let Some(used) = declared.uses.clone() else { break };
        (of, task) = (used.role.to_string(), used.task);
    }
    fs::write(at("playbook.yml"), playbook.to_string()).unwrap();
    fs::write(at("inventory.json"), inventory.to_string()).unwrap();
    fs::write(at("variables.json"), marked(all).to_string()).unwrap();
    let mut command = Command::new("ansible-playbook");
    command
        .current_dir(directory.path())
        .args(["-i", "inventory.json", "-e", "@variables.json", "playbook.yml"])
        .args(arguments)
        .env("ANSIBLE_ROLES_PATH", roles)
        .env("ANSIBLE_LIBRARY", ours.join("modules"))
        .env("ANSIBLE_ACTION_PLUGINS", ours.join("action_plugins"))
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env("ANSIBLE_NOCOLOR", "true")
        .env("LC_ALL", "C.UTF-8");
    let mut process = Process::spawn("ansible-playbook", command, &at("output")).unwrap();
    let status = process.wait(Duration::from_secs(240)).await.unwrap();
    let output = fs::read_to_string(at("output")).unwrap();
    let recap = output.split("PLAY RECAP").last().unwrap_or_default();
    let changed = recap.split("changed=").nth(1).and_then(|rest| rest.split(' ').next());
    let changed = changed.and_then(|count| count.parse().ok()).unwrap_or_default();
    Played { ok: status.success(), changed, output }
}

fn marked(value: Value) -> Value {
    match value {
        Value::String(text) => json!({ "__ansible_unsafe": text }),
        Value::Array(items) => items.into_iter().map(marked).collect(),
        Value::Object(object) => object.into_iter().map(|(key, value)| (key, marked(value))).collect(),
        other => other,
    }
}

impl Played {
    #[track_caller]
    pub(crate) fn changes(self, expect: bool) -> String {
        assert!(self.ok, "{}", self.output);
        assert_eq!(self.changed > 0, expect, "{}", self.output);
        self.output
    }

    #[track_caller]
    pub(crate) fn refuses(self, with: &str) {
        assert!(!self.ok && self.changed == 0, "it was not refused: {}", self.output);
        assert!(self.output.contains(with), "{with} is not in {}", self.output);
    }
}
