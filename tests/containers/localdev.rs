//! A localdev of a test, driven as its users do: `cargo xtask localdev`, `docker`, and `aegir` in the web container.

use std::fs::Permissions;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything here may take: containers share two cores with whatever else runs.
const DEADLINE: Duration = Duration::from_secs(300);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// A network that is up until this is dropped.
pub(crate) struct Localdev {
    name: String,
    base: u16,
    pair: bool,
    /// What `cargo xtask localdev` finds in its environment.
    environment: Vec<(&'static str, &'static str)>,
    /// A copy of the tests' roles, for this network's dispatcherd.
    roles: TempDir,
}

impl Localdev {
    pub(crate) fn up() -> Result<Self> {
        Self::down()?.started()
    }

    /// One of other images.
    pub(crate) fn with(environment: &[(&'static str, &'static str)]) -> Result<Self> {
        let mut localdev = Self::down()?;
        localdev.environment = environment.to_vec();
        localdev.started()
    }

    /// With a second dispatcherd and a second minion.
    pub(crate) fn pair() -> Result<Self> {
        let mut localdev = Self::down()?;
        localdev.pair = true;
        localdev.started()
    }

    fn started(self) -> Result<Self> {
        self.xtask(&["up"])?;
        self.ready()?;
        Ok(self)
    }

    /// A network that is not up yet.
    pub(crate) fn down() -> Result<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{number}", std::process::id());
        // Whoever dispatcherd runs as must get in.
        let roles = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?;
        let copied = Command::new("cp")
            .arg("-R")
            .arg(root().join("tests/containers/roles/."))
            .arg(roles.path())
            .status()?;
        ensure!(copied.success(), "the roles can't be copied");
        Ok(Self { name, base: three_free_ports()?, pair: false, environment: Vec::new(), roles })
    }

    /// The roles that dispatcherd looks at.
    pub(crate) fn roles(&self) -> &Path {
        self.roles.path()
    }

    /// Waits until Operations can be asked for.
    pub(crate) fn ready(&self) -> Result<()> {
        self.until("a catalog", || Ok(self.aegir(&["catalog", "steady"]).is_ok().then_some(())))
    }

    /// `cargo xtask localdev`, as cargo would start it.
    pub(crate) fn xtask(&self, arguments: &[&str]) -> Result<String> {
        self.xtask_with(arguments, &[])
    }

    /// The same with more in its environment.
    pub(crate) fn xtask_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
        let program = PathBuf::from(std::env::var_os("AEGIR_BIN_DIR").context("AEGIR_BIN_DIR is not set")?);
        let mut command = Command::new(program.join("xtask"));
        command.arg("localdev").args(arguments).args([
            "--name",
            &self.name,
            "--port-base",
            &self.base.to_string(),
        ]);
        if self.pair {
            command.arg("--pair");
        }
        command.env("AEGIR_ROLES", self.roles());
        command.envs(self.environment.iter().chain(environment).copied());
        said(command.output().context("can't start xtask")?, arguments)
    }

    pub(crate) fn container(&self, service: &str) -> String {
        format!("ddev-{}-{service}", self.name)
    }

    pub(crate) fn network(&self) -> String {
        format!("ddev-{}_default", self.name)
    }

    /// The port on 127.0.0.1 of relayd (0), the broker's page (1) or the minion's web server (2).
    pub(crate) fn port(&self, number: u16) -> u16 {
        self.base + number
    }

    /// Runs a program in a container.
    pub(crate) fn exec(&self, service: &str, words: &[&str]) -> Result<String> {
        docker(&[&["exec", &self.container(service)], words].concat())
    }

    /// `aegir` in the web container.
    pub(crate) fn aegir(&self, words: &[&str]) -> Result<String> {
        self.exec("web", &[&["aegir"], words].concat())
    }

    /// Asks for an Operation on a minion and gives its id.
    pub(crate) fn submit(&self, operation: &str, target: &str, minion: &str, ticks: u32) -> Result<String> {
        let (target, ticks) = (format!("site:{target}"), format!("ticks:={ticks}"));
        let hosts = format!("/exchange/hosts/{minion}.json");
        let words =
            ["run", operation, "--target", &target, "--hosts-file", &hosts, "--var", &ticks, "--json"];
        let operation: Value = serde_json::from_str(&self.aegir(&words)?).context("no JSON")?;
        Ok(operation["id"].as_str().context("no id")?.to_owned())
    }

    /// Asks for a playbook on the minion that counts, and then for one that uses the secret in /tmp/word.
    pub(crate) fn run_steady(&self, target: &str, ticks: u32) -> Result<String> {
        let (target, ticks) = (format!("site:{target}"), format!("ticks:={ticks}"));
        let words = [
            "run",
            "steady.play_and_tell",
            "--target",
            &target,
            "--var",
            &ticks,
            "--secret",
            "word=@/tmp/word",
        ];
        let rest = ["--hosts-file", "/exchange/hosts/minion.json", "--json"];
        let operation: Value = serde_json::from_str(&self.aegir(&[&words[..], &rest].concat())?)?;
        Ok(operation["id"].as_str().context("no id")?.to_owned())
    }

    /// Waits until it prints.
    pub(crate) fn until_it_runs(&self, id: &str) -> Result<()> {
        self.until("its first output", || {
            let log = self.aegir(&["log", id, "--output", "stdout"]);
            Ok(log.is_ok_and(|log| log.contains("tick")).then_some(()))
        })
    }

    /// Waits until it counts on this minion.
    pub(crate) fn until_it_has_begun(&self, id: &str, minion: &str) -> Result<()> {
        let begun = format!("/var/tmp/begun-{id}");
        self.until("its start", || Ok(self.exec(minion, &["test", "-e", &begun]).is_ok().then_some(())))
    }

    /// What runs on a minion for any attempt.
    pub(crate) fn of_attempts(&self, minion: &str) -> Result<String> {
        self.exec(minion, &["sh", "-c", "grep -c AEGIR_ATTEMPT= /proc/[0-9]*/environ | grep -v :0; true"])
    }

    /// Waits for the end of its latest attempt, and gives that as the API does.
    pub(crate) fn until_it_ends(&self, id: &str) -> Result<Value> {
        // relayd may be away just now.
        self.until("its end", || Ok(self.aegir(&["show", id, "--json"]).ok().and_then(|shown| ended(&shown))))
    }

    /// It succeeded, was begun once on this minion, and printed every line once and in order.
    pub(crate) fn ran_once(&self, id: &str, minion: &str, ticks: u32) -> Result<Value> {
        let ended = self.until_it_ends(id)?;
        ensure!(ended["outcome"] == "succeeded", "{ended:#}");
        let begun = self.exec(minion, &["cat", &format!("/var/tmp/begun-{id}")])?;
        ensure!(begun == "x", "it was begun {} times", begun.len());
        let expected: String = (0..ticks).map(|n| format!("tick {n}\n")).collect();
        let printed = self.aegir(&["log", id, "--output", "stdout"])?;
        ensure!(printed.trim_end() == expected.trim_end(), "it printed {printed:?}");
        Ok(ended)
    }

    /// Looks again and again until there is something.
    pub(crate) fn until<T>(&self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            if Instant::now() > end {
                bail!("{what} did not come within {DEADLINE:?}\n{}", self.logs());
            }
            sleep(LOOK_AGAIN);
        }
    }

    fn logs(&self) -> String {
        let mut logs = String::new();
        for service in ["relayd", "dispatcherd", "minion"] {
            let output =
                Command::new("docker").args(["logs", "--tail", "30", &self.container(service)]).output();
            if let Ok(Output { stdout, stderr, .. }) = output {
                let said = [stdout, stderr].concat();
                logs.push_str(&format!("--- {service}\n{}\n", String::from_utf8_lossy(&said)));
            }
        }
        logs
    }
}

impl Drop for Localdev {
    fn drop(&mut self) {
        if let Err(error) = self.xtask(&["down"]) {
            eprintln!("the network {} was not removed: {error:#}", self.name);
        }
    }
}

/// The latest attempt in what `aegir show --json` prints, if it has ended.
pub(crate) fn ended(shown: &str) -> Option<Value> {
    let shown: Value = serde_json::from_str(shown).ok()?;
    shown["attempts"].as_array()?.last().filter(|attempt| !attempt["outcome"].is_null()).cloned()
}

/// What docker prints.
pub(crate) fn docker(words: &[&str]) -> Result<String> {
    said(Command::new("docker").args(words).output().context("can't start docker")?, words)
}

fn said(output: Output, words: &[&str]) -> Result<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    let Output { status, stdout, stderr } = output;
    ensure!(status.success(), "{}: {status}\n{}\n{}", words.join(" "), text(&stdout), text(&stderr));
    Ok(text(&stdout))
}

pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn three_free_ports() -> Result<u16> {
    for _ in 0..100 {
        let base = aegir_testkit::port::free_port()?;
        let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if base < u16::MAX - 2 && free(base + 1) && free(base + 2) {
            return Ok(base);
        }
    }
    bail!("no three free ports in a row")
}
