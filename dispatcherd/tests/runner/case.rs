//! One attempt's directory, and what its runner made of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegir_attempt::AttemptDirectory;
use aegir_attempt::plan::{PLAN_SCHEMA, PlannedTask, RunnerSettings, TaskAction, TaskPlan};
use aegir_catalog::Resolved;
use aegir_catalog::manifest::{Argument, RunsOn};
use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::message::{Cancel, Lease, encode};
use aegir_protocol::operation::{DoneTask, Host, HostKey, Operation, Target};
use aegir_protocol::record::{ChildExit, Document, Finished, Header, Record, Step, Stream, TaskFinished};
use aegir_testkit::TestMinion;
use dispatcherd::journal::Journal;
use serde_json::Value;

/// How long an attempt of these tests may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// An attempt that is planned and not started.
pub(crate) struct Case {
    /// Everything of this test; short, because sockets are in it.
    root: tempfile::TempDir,
    pub(crate) operation: Operation,
    pub(crate) plan: TaskPlan,
}

/// A runner that runs.
pub(crate) struct Running {
    pub(crate) case: Case,
    pub(crate) child: Child,
}

/// What an ended runner has left.
pub(crate) struct Ended {
    pub(crate) case: Case,
    pub(crate) records: Vec<Record>,
    pub(crate) errors: String,
}

impl Case {
    pub(crate) fn new() -> Self {
        let root = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let operation = Operation {
            id: OperationId::generate(),
            attempt: Attempt::FIRST,
            name: "example.run".parse().unwrap(),
            backend: "main".parse().unwrap(),
            frontend: "main".parse().unwrap(),
            target: Target {
                kind: "site".parse().unwrap(),
                id: "s1".parse().unwrap(),
                name: "example.test".parse().unwrap(),
            },
            hosts: Vec::new(),
            variables: BTreeMap::new(),
            locks: Vec::new(),
            requested_by: None,
            requested_at: jiff::Timestamp::now(),
            priority: 0,
            dry_run: false,
            check: false,
            timeout_seconds: None,
            lease_seconds: None,
            retry_of: None,
            done: None,
            approved: None,
            traceparent: None,
        };
        let at = |name: &str| root.path().join(name);
        let settings = RunnerSettings {
            runtime_directory: at("run"),
            content_directory: at("content"),
            collections: Vec::new(),
            content_roots: vec![at("roots")],
            age_identity_file: at("identity"),
            ssh_user: "nobody".parse().unwrap(),
            ssh_identity_file: None,
            known_hosts_file: at("known_hosts"),
            connect_timeout_seconds: 5,
            // Another version: AEGIR_TEST_ANSIBLE_PLAYBOOK=/path/to/venv/bin/ansible-playbook.
            ansible_playbook: std::env::var_os("AEGIR_TEST_ANSIBLE_PLAYBOOK")
                .map_or_else(|| "ansible-playbook".into(), PathBuf::from),
            minion_python: "/usr/bin/python3".into(),
            vault_passwords: BTreeMap::new(),
            ansible_plugins: Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible"),
            output_limit_bytes: 1024 * 1024 * 1024,
        };
        let plan = TaskPlan {
            schema: PLAN_SCHEMA.to_owned(),
            attempt: operation.attempt_id(),
            node: "node1".parse().unwrap(),
            tasks: Vec::new(),
            settings,
            plugins: None,
        };
        Self { root, operation, plan }
    }

    /// A path of this test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn directory(&self) -> AttemptDirectory {
        AttemptDirectory::of(&self.path("state"), self.operation.attempt_id())
    }

    pub(crate) fn task(mut self, name: &str, action: TaskAction, variables: &[(&str, Value)]) -> Self {
        let variable = |(name, value): &(&str, Value)| {
            (name.parse().unwrap(), Resolved { value: value.clone(), from: "site".to_owned() })
        };
        self.plan.tasks.push(PlannedTask {
            number: self.plan.tasks.len() as u32 + 1,
            role: "example".parse().unwrap(),
            digest: "d1".to_owned(),
            collection: None,
            name: name.parse().unwrap(),
            title: format!("Do {name}"),
            action,
            hosts: self.operation.hosts.iter().map(|host| host.name.clone()).collect(),
            variables: variables.iter().map(variable).collect(),
            absent: Vec::new(),
            declared: BTreeMap::new(),
            of_hosts: BTreeMap::new(),
            uses: BTreeMap::new(),
            outputs: BTreeMap::new(),
            may_match_no_host: false,
            leaves_processes: false,
            done: None,
            timeout_seconds: 60,
            quiet_seconds: None,
        });
        self
    }

    /// A Task that runs a program beside dispatcherd.
    pub(crate) fn program(self, argv: &[&str]) -> Self {
        let argv = argv.iter().map(|&word| Argument::Text(word.to_owned())).collect();
        self.task("run", TaskAction::Program { argv, on: RunsOn::Dispatcher }, &[])
    }

    /// The same with a script for a shell.
    pub(crate) fn script(self, script: &str) -> Self {
        self.program(&["/bin/sh", "-c", script])
    }

    /// A Task that runs a script on every minion.
    pub(crate) fn remote_script(self, script: &str) -> Self {
        let argv = ["sh", "-c", script].map(|word| Argument::Text(word.to_owned())).to_vec();
        self.task("run", TaskAction::Program { argv, on: RunsOn::Minions }, &[])
    }

    /// A minion of the Operation. Before the Tasks, which run on all of them.
    pub(crate) fn minion(mut self, name: &str, minion: &TestMinion) -> Self {
        let mut host = Host::named(name.parse().unwrap());
        host.address = Some("127.0.0.1".parse().unwrap());
        host.port = Some(minion.port);
        host.user = Some(minion.user.parse().unwrap());
        host.host_keys = vec![HostKey::try_from(minion.host_key.clone()).unwrap()];
        self.operation.hosts.push(host);
        self.plan.settings.ssh_identity_file = Some(minion.identity_file.clone());
        self
    }

    /// A task-file of the role, and a Task that runs it.
    pub(crate) fn task_file(self, name: &str, text: &str, variables: &[(&str, Value)]) -> Self {
        let path = self.path("content/d1/example/tasks");
        std::fs::create_dir_all(&path).unwrap();
        let file = format!("{name}.yml");
        std::fs::write(path.join(&file), text).unwrap();
        self.task(name, TaskAction::TaskFile(file), variables)
    }

    /// What the last Task hands over, as its manifest says it.
    pub(crate) fn outputs(mut self, declared: Value) -> Self {
        self.plan.tasks.last_mut().unwrap().outputs = serde_json::from_value(declared).unwrap();
        self
    }

    /// What the last Task has started may live on.
    pub(crate) fn leaves_processes(mut self) -> Self {
        self.plan.tasks.last_mut().unwrap().leaves_processes = true;
        self
    }

    /// The last Task was finished by the first attempt, with this.
    pub(crate) fn done(mut self, outputs: Value) -> Self {
        let task = self.plan.tasks.last_mut().unwrap();
        let outputs = serde_json::from_value(outputs).unwrap();
        task.done = Some(DoneTask { task: task.number, attempt: Attempt::FIRST, outputs });
        self
    }

    /// A module of the role.
    pub(crate) fn module(self, name: &str, text: &str) -> Self {
        let library = self.path("content/d1/example/library");
        std::fs::create_dir_all(&library).unwrap();
        std::fs::write(library.join(format!("{name}.py")), text).unwrap();
        self
    }

    /// A key for this backend; gives a value sealed with it.
    pub(crate) fn seal(&self, secret: &str) -> Value {
        use age::secrecy::ExposeSecret as _;
        use base64::Engine as _;
        let path = &self.plan.settings.age_identity_file;
        let identity = match std::fs::read_to_string(path) {
            Ok(text) => text.trim().parse().unwrap(),
            Err(_) => {
                let identity = age::x25519::Identity::generate();
                std::fs::write(path, identity.to_string().expose_secret()).unwrap();
                identity
            }
        };
        let sealed = age::encrypt(&identity.to_public(), secret.as_bytes()).unwrap();
        serde_json::json!({ "sealed": base64::engine::general_purpose::STANDARD.encode(sealed) })
    }

    pub(crate) fn start(self) -> Running {
        self.write();
        self.spawn()
    }

    /// All that a runner reads.
    pub(crate) fn write(&self) {
        let directory = self.directory();
        std::fs::create_dir_all(directory.path()).unwrap();
        std::fs::create_dir_all(&self.plan.settings.runtime_directory).unwrap();
        std::fs::write(directory.operation(), encode(&self.operation)).unwrap();
        std::fs::write(directory.plan(), serde_json::to_vec(&self.plan).unwrap()).unwrap();
    }

    pub(crate) fn spawn(self) -> Running {
        let errors = File::create(self.path("errors")).unwrap();
        let child = self.command().stderr(errors).spawn().unwrap();
        Running { case: self, child }
    }

    /// A lease of so many seconds, asked for now.
    pub(crate) fn lease(mut self, seconds: u64) -> Self {
        self.operation.lease_seconds = Some(seconds);
        self.renew(seconds);
        self
    }

    /// The same once more, as dispatcherd renews it.
    pub(crate) fn renew(&self, seconds: u64) {
        let lease = Lease { asked_at: aegir_attempt::lease::boot_time(), seconds };
        let directory = self.directory();
        std::fs::create_dir_all(directory.path()).unwrap();
        let beside = directory.path().join("lease.json.new");
        std::fs::write(&beside, serde_json::to_vec(&lease).unwrap()).unwrap();
        std::fs::rename(beside, directory.lease()).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcherd"));
        command.arg("runner").arg(self.directory().path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// What the runner has said of itself.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(self.path("errors")).unwrap_or_default()
    }

    pub(crate) fn run(self) -> Ended {
        self.start().wait()
    }
}

impl Running {
    /// Waits until something holds.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Case) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds(&self.case) {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the runner ended ({status}) before {what}; transcript:\n{}", self.transcript());
            }
            assert!(Instant::now() < end, "{what} did not happen; transcript:\n{}", self.transcript());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn transcript(&self) -> String {
        let bytes = std::fs::read(self.case.directory().transcript()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a child has printed this.
    #[track_caller]
    pub(crate) fn until_printed(&mut self, text: &str) {
        let path = self.case.directory().transcript();
        let has =
            |_: &Case| String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()).contains(text);
        self.until(&format!("{text:?} is printed"), has);
    }

    pub(crate) fn cancel(&self) {
        let cancel = Cancel {
            operation: self.case.operation.id,
            attempt: self.case.operation.attempt,
            requested_by: Some("tester".to_owned()),
        };
        // As dispatcherd does it, which knows what a full disk still takes.
        let journal = Journal::open(&self.case.path("state"), Duration::ZERO).unwrap();
        journal.write_cancel(&cancel).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let end = Instant::now() + DEADLINE;
        while self.child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("the runner did not end; transcript:\n{}", self.transcript());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let errors = self.case.errors();
        let bytes = std::fs::read(self.case.directory().transcript()).unwrap_or_default();
        let records = bytes
            .split_inclusive(|&byte| byte == b'\n')
            .map(|line| Header::read(line).unwrap().record().unwrap().expect("a known kind"))
            .collect();
        Ended { case: self.case, records, errors }
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // The masters that the runner leaves for others: here there are none.
        let Ok(entries) = std::fs::read_dir(self.path("run/ssh")) else { return };
        for socket in entries.flatten().filter(|entry| entry.path().extension().is_none()) {
            let _ = Command::new("ssh")
                .arg("-S")
                .arg(socket.path())
                .args(["-O", "exit", "none"])
                .stderr(Stdio::null())
                .status();
        }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn finished(&self) -> &Finished {
        match self.records.last() {
            Some(Record::Finished(finished)) => finished,
            other => panic!("the last record is {other:?}; the runner said: {}", self.errors),
        }
    }

    /// Checks the end of the attempt, and that the transcript is whole and nothing is left behind.
    #[track_caller]
    pub(crate) fn expect(self, outcome: &str, code: &str) -> Self {
        let finished = self.finished().clone();
        assert_eq!(
            (finished.outcome.as_str(), finished.reason.code.as_str()),
            (outcome, code),
            "{}\n{:#?}",
            finished.reason,
            self.records
        );
        aegir_transcript::verify(&self.case.directory().transcript()).unwrap();
        assert!(!self.case.directory().path().join("tasks").exists(), "tasks/ is still there");
        assert!(!self.case.directory().child().exists(), "child.json is still there");
        let runtime = std::fs::read_dir(self.case.path("run")).unwrap();
        let left: Vec<_> =
            runtime.flatten().map(|entry| entry.file_name()).filter(|name| name != "ssh").collect();
        assert!(left.is_empty(), "left in the runtime directory: {left:?}");
        self
    }

    #[track_caller]
    pub(crate) fn reason(&self) -> &str {
        &self.finished().reason.message
    }

    /// What a stream gave, put together again.
    pub(crate) fn printed(&self, stream: Stream) -> Vec<u8> {
        self.printed_on(None, stream)
    }

    /// The same of one minion.
    pub(crate) fn printed_on(&self, host: Option<&str>, stream: Stream) -> Vec<u8> {
        let outputs = self.records.iter().filter_map(|record| match record {
            Record::Output(output) => Some(output),
            _ => None,
        });
        outputs
            .filter(|output| output.stream == stream)
            .filter(|output| output.host.as_ref().map(|name| name.as_str()) == host)
            .flat_map(|output| output.bytes().unwrap())
            .collect()
    }

    pub(crate) fn text(&self, stream: Stream) -> String {
        String::from_utf8(self.printed(stream)).unwrap()
    }

    pub(crate) fn task_finished(&self) -> &TaskFinished {
        let last = self.records.iter().rev().find_map(|record| match record {
            Record::TaskFinished(finished) => Some(finished),
            _ => None,
        });
        last.expect("a Task ended")
    }

    pub(crate) fn exit(&self) -> &ChildExit {
        &self.task_finished().exit
    }

    pub(crate) fn steps(&self) -> Vec<&Step> {
        let steps = self.records.iter().filter_map(|record| match record {
            Record::Step(step) => Some(step),
            _ => None,
        });
        steps.collect()
    }

    pub(crate) fn documents(&self) -> Vec<&Document> {
        let documents = self.records.iter().filter_map(|record| match record {
            Record::Document(document) => Some(document),
            _ => None,
        });
        documents.collect()
    }

    #[track_caller]
    pub(crate) fn step(&self, name: &str) -> &Step {
        let found = self.steps().into_iter().find(|step| step.name == name && step.item.is_none());
        found.unwrap_or_else(|| panic!("no step {name:?} in {:#?}", self.records))
    }

    /// Every byte of the transcript as text, to look for what must not be there.
    pub(crate) fn transcript(&self) -> String {
        let bytes = std::fs::read(self.case.directory().transcript()).unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

/// Whether a process with this word on its command line runs.
pub(crate) fn runs(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().parse::<i32>().is_ok()).any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes())
    })
}

/// Ends the processes with this word on their command line.
pub(crate) fn end(word: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let id = entry.file_name().to_string_lossy().parse().ok().and_then(rustix::process::Pid::from_raw);
        if let Some(id) = id
            && line.split(|&byte| byte == 0).any(|argument| argument == word.as_bytes())
        {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
        }
    }
}

/// A number of seconds to sleep that no other test sleeps, to find the sleeper by.
pub(crate) fn unique_seconds() -> String {
    format!("{}.{}", 5000, uuid::Uuid::new_v4().as_u128() % 1_000_000_000)
}
