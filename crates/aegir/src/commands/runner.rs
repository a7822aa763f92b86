//! `aegir runner check`: plays dispatcherd's part for a plug-in runner, and says where it does not keep to the protocol.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use aegir_catalog::manifest::PluginVerb;
use aegir_catalog::runner::{GRACE_SECONDS, Input, Line, PROTOCOL, Verb};
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::name::PlanHash;
use aegir_protocol::operation::Target;
use aegir_service::exit::Exit;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::json;
use tempfile::TempDir;

use crate::arguments::RunnerCheck;
use crate::error::Error;
use crate::terminal::print_text;

/// How long a verb may take here.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take after SIGINT, as in dispatcherd.
const INTERRUPT_GRACE: Duration = Duration::from_secs(GRACE_SECONDS);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// As dispatcherd starts it, with a file for the pipe.
const START: &str = r#"in=$1; lines=$2; shift 2; exec "$@" <"$in" 3>"$lines""#;

/// What a run came to.
struct Ran {
    status: ExitStatus,
    lines: Vec<u8>,
    errors: String,
    left_behind: bool,
}

struct Plugin<'a> {
    arguments: &'a RunnerCheck,
    /// The same for all verbs, as within an Operation.
    operation: OperationId,
    place: TempDir,
    role: PathBuf,
}

pub(super) fn check(arguments: &RunnerCheck) -> Result<ExitCode, Error> {
    let place = tempfile::tempdir().map_err(|error| Error::file(&std::env::temp_dir(), error.to_string()))?;
    let role = arguments
        .role
        .as_deref()
        .map(|role| role.canonicalize().map_err(|error| Error::file(role, error.to_string())));
    let role = role.transpose()?.unwrap_or_else(|| place.path().to_owned());
    let plugin = Plugin { arguments, operation: OperationId::generate(), place, role };
    let mut wrong = false;
    let mut text = String::new();
    for (name, result) in plugin.checks() {
        match result {
            Ok(()) => text.push_str(&format!("good   {name}\n")),
            Err(problem) => {
                wrong = true;
                text.push_str(&format!("WRONG  {name}: {problem}\n"));
            }
        }
    }
    print_text(&text)?;
    Ok(if wrong { Exit::Failed } else { Exit::Success }.into())
}

impl Plugin<'_> {
    /// What is looked at, in this order, and what is wrong with it.
    fn checks(&self) -> [(&'static str, Result<(), String>); 11] {
        [
            ("plan", self.goes_well(Verb::Plan)),
            ("apply", self.goes_well(Verb::Apply)),
            ("apply again", self.goes_well(Verb::Apply)),
            ("plan after apply", self.goes_well(Verb::Plan)),
            ("apply of a plan", self.heeds_its_plan()),
            ("apply, interrupted", self.ends_when_interrupted()),
            ("cancel", self.goes_well(Verb::Cancel)),
            ("delete", self.goes_well(Verb::Delete)),
            ("delete again", self.goes_well(Verb::Delete)),
            ("an unknown version", self.refuses("aegir.runner/999", Verb::Plan.as_str())),
            ("an unknown verb", self.refuses(PROTOCOL, "wish")),
        ]
    }

    fn input(&self, protocol: &str, verb: Verb, approved: Option<&PlanHash>) -> Input {
        let name = |text: &str| text.parse().expect("a name");
        Input {
            protocol: protocol.to_owned(),
            verb,
            task_verb: if verb == Verb::Delete { PluginVerb::Delete } else { PluginVerb::Apply },
            operation: self.operation,
            name: "example.run".parse().expect("a name"),
            attempt: Attempt::FIRST,
            target: Target {
                kind: "site".parse().expect("a kind"),
                id: "example.test".parse().expect("an id"),
                name: "example.test".parse().expect("a name"),
            },
            role: "example".parse().expect("a name"),
            role_directory: self.role.to_string_lossy().into_owned(),
            task: name("run"),
            hosts: Vec::new(),
            variables: self.arguments.variables.0.clone(),
            absent: self.arguments.absent.clone(),
            declared: std::collections::BTreeMap::new(),
            outputs: std::collections::BTreeMap::new(),
            approved: approved.cloned(),
            settings: self.arguments.settings.0.clone(),
        }
    }

    fn start(&self, protocol: &str, verb: &str, approved: Option<&PlanHash>) -> Result<Child, String> {
        let (input, lines) = (self.place.path().join("input.json"), self.place.path().join("lines"));
        let known = [Verb::Plan, Verb::Apply, Verb::Delete, Verb::Cancel]
            .into_iter()
            .find(|known| known.as_str() == verb);
        let mut told = json!(self.input(protocol, known.unwrap_or(Verb::Plan), approved));
        told["verb"] = json!(verb);
        let work = self.place.path().join("work");
        let _ = std::fs::remove_dir_all(&work);
        let _ = std::fs::remove_file(&lines);
        let errors = std::fs::write(&input, told.to_string())
            .and_then(|()| std::fs::create_dir(&work))
            .and_then(|()| File::create(self.place.path().join("errors")))
            .map_err(|error| error.to_string())?;
        let paths = [input.as_os_str(), lines.as_os_str()];
        let variable = |name| std::env::var_os(name).unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", START, "sh"]).args(paths).args(self.words()).arg(verb);
        command
            .env_clear()
            .env("PATH", variable("PATH"))
            .env("HOME", variable("HOME"))
            .env("LC_ALL", "C.UTF-8");
        command.current_dir(work).process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        command.spawn().map_err(|error| error.to_string())
    }

    /// The command; a path in it is meant from here.
    fn words(&self) -> Vec<std::ffi::OsString> {
        let mut words = self.arguments.command.clone();
        if let Some(first) = words.first_mut()
            && first.as_encoded_bytes().contains(&b'/')
            && let Ok(path) = Path::new(first).canonicalize()
        {
            *first = path.into();
        }
        words
    }

    fn run(
        &self,
        protocol: &str,
        verb: &str,
        approved: Option<&PlanHash>,
        interrupt: bool,
    ) -> Result<Ran, String> {
        let mut child = self.start(protocol, verb, approved)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
        let lines = || std::fs::read(self.place.path().join("lines")).unwrap_or_default();
        let mut patience = Instant::now() + PATIENCE;
        let mut interrupted = !interrupt;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error: io::Error| error.to_string())? {
                break status;
            }
            if !interrupted && !lines().is_empty() {
                interrupted = true;
                patience = Instant::now() + INTERRUPT_GRACE;
                let _ = kill_process_group(group, Signal::INT);
            }
            if Instant::now() > patience {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.wait();
                let after = if interrupt { "of SIGINT" } else { "of its start" };
                let within = if interrupt { INTERRUPT_GRACE } else { PATIENCE };
                return Err(format!("the plug-in did not end within {within:?} {after}"));
            }
            sleep(LOOK_AGAIN);
        };
        let left_behind = test_kill_process_group(group).is_ok();
        let _ = kill_process_group(group, Signal::KILL);
        let errors = std::fs::read_to_string(self.place.path().join("errors")).unwrap_or_default();
        Ok(Ran { status, lines: lines(), errors, left_behind })
    }

    fn goes_well(&self, verb: Verb) -> Result<(), String> {
        self.says(verb, None).map(drop)
    }

    /// What it says when all goes well.
    fn says(&self, verb: Verb, approved: Option<&PlanHash>) -> Result<Vec<Line>, String> {
        let ran = self.run(PROTOCOL, verb.as_str(), approved, false)?;
        if !ran.status.success() {
            return Err(format!("the plug-in ended with {}: {}", shown(ran.status), ran.errors.trim()));
        }
        let lines = keeps_to_the_protocol(&ran.lines)?;
        if ran.left_behind { Err("the plug-in left a process behind".to_owned()) } else { Ok(lines) }
    }

    /// Whether it carries its own plan out, and refuses another; good as well when it makes none.
    fn heeds_its_plan(&self) -> Result<(), String> {
        let plan = self.says(Verb::Plan, None)?.into_iter().find_map(|line| match line {
            Line::Plan { hash, .. } => Some(hash),
            Line::Greeting { .. } | Line::Step { .. } | Line::Document { .. } | Line::Progress { .. } => None,
        });
        let Some(plan) = plan else { return Ok(()) };
        let other = "another-plan".parse().map_err(|error| format!("{error}"))?;
        if self.run(PROTOCOL, Verb::Apply.as_str(), Some(&other), false)?.status.success() {
            return Err(
                "the plug-in applies although `approved` names another plan: it must fail with plan_changed"
                    .to_owned(),
            );
        }
        self.says(Verb::Apply, Some(&plan)).map(drop)
    }

    fn ends_when_interrupted(&self) -> Result<(), String> {
        self.run(PROTOCOL, Verb::Apply.as_str(), None, true).map(drop)
    }

    fn refuses(&self, protocol: &str, verb: &str) -> Result<(), String> {
        let ran = self.run(protocol, verb, None, false)?;
        if ran.status.success() {
            return Err("the plug-in ended with exit code 0: it must end with another".to_owned());
        }
        if ran.errors.trim().is_empty() {
            Err("the plug-in does not say why on standard error".to_owned())
        } else {
            Ok(())
        }
    }
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

fn keeps_to_the_protocol(text: &[u8]) -> Result<Vec<Line>, String> {
    let mut greeted = false;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
        let said = Line::read(line).map_err(|error| {
            format!(
                "line {number} on descriptor 3 does not follow the protocol: {error}: {}",
                String::from_utf8_lossy(line)
            )
        })?;
        match &said {
            Line::Greeting { protocol, .. } if protocol == PROTOCOL => greeted = true,
            Line::Greeting { protocol, .. } => {
                return Err(format!("the plug-in speaks {protocol:?}, not {PROTOCOL:?}"));
            }
            _ if !greeted => return Err(format!("line {number} on descriptor 3 comes before the greeting")),
            Line::Step { .. } | Line::Document { .. } | Line::Plan { .. } | Line::Progress { .. } => {}
        }
        lines.push(said);
    }
    if greeted { Ok(lines) } else { Err("the plug-in sends no greeting on descriptor 3".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsStr;

    use super::*;
    use crate::values::JsonArgument;

    /// What is said of each check, by its name; nothing of one that it passes.
    fn said(command: &[&str]) -> BTreeMap<&'static str, String> {
        let arguments = RunnerCheck {
            settings: JsonArgument::default(),
            variables: JsonArgument::default(),
            absent: Vec::new(),
            role: None,
            command: command.iter().map(|word| OsStr::new(word).to_owned()).collect(),
        };
        let place = tempfile::tempdir().unwrap();
        let role = place.path().to_owned();
        let plugin = Plugin { arguments: &arguments, operation: OperationId::generate(), place, role };
        let checks = plugin.checks().into_iter();
        checks.map(|(name, result)| (name, result.err().unwrap_or_default())).collect()
    }

    #[test]
    fn the_examples_keep_to_the_protocol() {
        for example in ["note.py", "hello.sh"] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/howto/runners").join(example);
            let found = said(&[path.to_str().unwrap()]);
            assert!(found.len() == 11 && found.values().all(String::is_empty), "{example}: {found:#?}");
        }
    }

    #[test]
    fn what_does_not_is_told_so() {
        let greets = r#"echo '{"event":"greeting","protocol":"aegir.runner/0","version":"1"}' >&3"#;
        assert_eq!(said(&["true"])["apply"], "the plug-in sends no greeting on descriptor 3");
        let sloppy = format!("{greets}; echo '{{}}' >&3");
        let found = said(&["sh", "-c", &sloppy]);
        assert!(found["apply"].starts_with("line 2 on descriptor 3 does not follow"), "{found:?}");
        let (version, verb) = (&found["an unknown version"], &found["an unknown verb"]);
        assert!(version.starts_with("the plug-in ended with exit code 0") && verb == version, "{found:?}");
        let found =
            said(&["sh", "-c", &format!("{greets}; sleep 100 2>&1 >/dev/null & echo no >&2; exit 4")]);
        assert_eq!(found["apply"], "the plug-in ended with exit code 4: no");
        assert_eq!(found["an unknown version"], "");
        let plans = format!(r#"{greets}; echo '{{"event":"plan","hash":"1"}}' >&3"#);
        let found = said(&["sh", "-c", &plans]);
        assert!(found["apply of a plan"].starts_with("the plug-in applies although `approved`"));
        let no_cancel = format!("{greets}; [ $1 != cancel ] || exit 3");
        let found = said(&["sh", "-c", &no_cancel, "plugin"]);
        assert!(
            found["cancel"].starts_with("the plug-in ended with exit code 3") && found["plan"].is_empty(),
            "{found:?}"
        );
    }
}
