//! Plays dispatcherd's part: starts the runner, gives it a Task, and takes what it says.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegir_catalog::runner::{Line, PROTOCOL};
use aegir_protocol::record::StepStatus;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

/// What the Tasks of these tests list and a test may leave out.
pub(crate) const ABSENT: [&str; 8] = [
    "port",
    "probe_path",
    "replicas",
    "host",
    "ingress_class",
    "settings",
    "database_image",
    "database_size",
];

/// A runner with the operator's options, for one target and one Task.
#[derive(Default)]
pub(crate) struct Runner {
    pub(crate) options: Vec<String>,
    pub(crate) role_directory: PathBuf,
    pub(crate) settings: Value,
    pub(crate) variables: Value,
    /// How they are declared; nothing when it is null.
    pub(crate) declared: Value,
    pub(crate) task: &'static str,
    /// The target's ID. All of them have the same name.
    pub(crate) target: &'static str,
    /// The manifest says `verb: delete`.
    pub(crate) deletes: bool,
    pub(crate) approved: Option<String>,
    /// Of the runner; for a program that is not there.
    pub(crate) path: Option<String>,
    /// Of dispatcherd's user; one that goes with the run when there is none.
    pub(crate) home: Option<PathBuf>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<Line>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Runner {
    pub(crate) fn run(&self, verb: &str) -> Ran {
        self.start(verb).end()
    }

    /// Runs it until something is so, of what it has printed or elsewhere, and then sends a signal to all of its process group.
    pub(crate) fn run_until(&self, verb: &str, is_so: impl Fn(&str) -> bool, signal: Signal) -> Ran {
        let started = self.start(verb);
        let until = Instant::now() + Duration::from_secs(60);
        while !is_so(&started.read("stdout")) {
            assert!(Instant::now() < until, "it does not come to that: {}", started.read("lines"));
            std::thread::sleep(Duration::from_millis(10));
        }
        let group = Pid::from_raw(i32::try_from(started.child.id()).unwrap()).unwrap();
        kill_process_group(group, signal).unwrap();
        let ran = started.end();
        // As dispatcherd does with what is left of the group.
        let _ = kill_process_group(group, Signal::KILL);
        ran
    }

    fn start(&self, verb: &str) -> Started {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let operation = "01890a5d-ac96-774b-bcce-b302099a8057";
        let mut input = json!({
            "protocol": PROTOCOL, "verb": verb, "operation": operation, "name": "example.run", "attempt": 1,
            "target": {"kind": "site", "id": self.target, "name": "example.test"},
            "role": "example", "role_directory": self.role_directory, "task": self.task, "hosts": [], "outputs": {},
            "variables": self.variables, "absent": ABSENT, "with": self.settings,
        });
        input["task_verb"] = json!(if self.deletes { "delete" } else { "apply" });
        if !self.declared.is_null() {
            input["declared"] = self.declared.clone();
        }
        if let Some(approved) = &self.approved {
            input["approved"] = json!(approved);
        }
        std::fs::write(path("input"), input.to_string()).unwrap();
        std::fs::create_dir(path("work")).unwrap();
        let start = r#"in=$1; lines=$2; shift 2; exec "$@" <"$in" 3>"$lines""#;
        let child = Command::new("/bin/sh")
            .args(["-c", start, "sh"])
            .args([path("input"), path("lines")])
            .arg(env!("CARGO_BIN_EXE_aegir-runner"))
            .args(&self.options)
            .arg(verb)
            .env_clear()
            .env("PATH", self.path.clone().unwrap_or_else(|| std::env::var("PATH").unwrap()))
            .env("HOME", self.home.as_deref().unwrap_or(place.path()))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(path("work"))
            .stdin(Stdio::null())
            .stdout(File::create(path("stdout")).unwrap())
            .stderr(File::create(path("stderr")).unwrap())
            .process_group(0)
            .spawn()
            .unwrap();
        Started { place, child }
    }
}

/// A runner at work.
struct Started {
    place: tempfile::TempDir,
    child: Child,
}

impl Started {
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.place.path().join(name)).unwrap_or_default()
    }

    fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        // Whatever it is, nothing of it lies in the journal.
        without_secrets(&self.place.path().join("work"));
        let lines = self.read("lines").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Ran { code: status.code(), lines, stdout: self.read("stdout"), stderr: self.read("stderr") }
    }
}

fn without_secrets(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            without_secrets(&entry.path());
        } else if entry.file_type().unwrap().is_file() {
            let content = std::fs::read(entry.path()).unwrap();
            let content = String::from_utf8_lossy(&content);
            assert!(!content.contains(super::SECRET), "{} holds the secret", entry.path().display());
        }
    }
}

impl Ran {
    pub(crate) fn assert_good(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// The message of the step that failed.
    pub(crate) fn failure(&self) -> &str {
        assert_ne!(self.code, Some(0), "{self:#?}");
        let failed = self.lines.iter().find_map(|line| match line {
            Line::Step { status: StepStatus::Failed, message, .. } => message.as_deref(),
            _ => None,
        });
        failed.unwrap_or_else(|| panic!("no step has failed: {self:#?}"))
    }

    /// The names of the steps that changed something, or would.
    pub(crate) fn changed(&self) -> Vec<&str> {
        let changed = |line| match line {
            &Line::Step { status: StepStatus::Changed, ref name, .. } => Some(name.as_str()),
            _ => None,
        };
        self.lines.iter().filter_map(changed).collect()
    }

    /// The diff of a step.
    pub(crate) fn diff(&self, step: &str) -> &Value {
        let found = self.lines.iter().find_map(|line| match line {
            Line::Step { name, diff: Some(diff), .. } if name == step => Some(diff),
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no diff of {step:?}: {self:#?}"))
    }

    /// The plan: its hash and its changes.
    pub(crate) fn plan(&self) -> (String, Value) {
        let plan = self.lines.iter().find_map(|line| match line {
            Line::Plan { hash, changes } => Some((hash.to_string(), changes.clone())),
            _ => None,
        });
        plan.unwrap_or_else(|| panic!("no plan: {self:#?}"))
    }

    pub(crate) fn document(&self, wanted: &str) -> Option<&Value> {
        self.lines.iter().find_map(|line| match line {
            Line::Document { name, value, .. } if name.as_str() == wanted => Some(value),
            _ => None,
        })
    }

    /// Fails where a text is seen anywhere.
    pub(crate) fn assert_hides(&self, secrets: &[&str]) {
        let all = format!("{}{}{}", serde_json::to_string(&self.lines).unwrap(), self.stdout, self.stderr);
        for secret in secrets {
            assert!(!all.contains(secret), "{secret} is seen: {all}");
        }
    }
}
