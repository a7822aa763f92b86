//! Every test, the end-to-end ones included.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use aegir_testkit::broker::{IMAGE_VARIABLE, URL_VARIABLE};
use anyhow::{Context as _, bail};

use crate::{deps, workspace};

/// `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What to hand to the test runner: a part of a test's name, or its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<String>,
}

/// Installs what is missing, builds, and runs the tests. The runner's closing line is the last one.
///
/// # Errors
/// When something can't be installed or built, or a test fails.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    deps::ensure(deps::For::Tests)?;
    // Tests start the daemons as programs: cargo builds those for no test by itself.
    workspace::cargo(&["build", "--workspace", "--bins"])?;
    if !rustix::process::geteuid().is_root() {
        eprintln!("Only root can mount a small disk: tests of full disks check nothing, and say SKIPPED.");
    }
    tests(&["--workspace"], &arguments.runner, None)
}

/// The tests of this target with what they need to start containers.
const fn with_containers(target: &str) -> [&str; 6] {
    ["--package", "aegir-tests", "--features", "containers", "--test", target]
}

/// Tests on containers that take minutes each and look at what changes seldom: a wiki on other releases and on hosts apart.
const ONLY_IN_FULL: [&str; 2] = ["php_apart::", "php_systemd::"];

/// Runs the tests that are made for containers. Images and daemons have been built.
///
/// # Errors
/// When a test fails.
pub(crate) fn containers(runner: &[String], full: bool) -> anyhow::Result<()> {
    if full || !runner.is_empty() {
        return tests(&with_containers("containers"), runner, None);
    }
    println!("(Left to `--full`: {}.)", ONLY_IN_FULL.join(", "));
    tests(&with_containers("containers"), &without(&ONLY_IN_FULL), None)
}

/// What has the runner leave out tests whose names contain these.
fn without(names: &[&str]) -> Vec<String> {
    let skip = names.iter().flat_map(|name| ["--skip", name]);
    ["--"].into_iter().chain(skip).map(str::to_owned).collect()
}

/// Journeys that look at no broker, bring one that they can kill or that speaks TLS, or want one that nobody else uses:
/// for the dead letters, and for the names that the tutorial shows.
const NOT_SHARED: [&str; 9] = [
    "bad_input::a_bad_message",
    "documents::",
    "faults::",
    // The page's commands name the backend `main`.
    "php::the_programs_of_the_http_apis_page",
    "plans::",
    "restarts::a_killed_broker",
    "submissions::",
    "tls::",
    "tutorial::",
];

/// Runs the journeys with the broker at this URL.
///
/// # Errors
/// When a test fails.
pub(crate) fn journeys_with(broker: &str) -> anyhow::Result<()> {
    println!("(Those that want a broker of their own are not run once more: {}.)", NOT_SHARED.join(", "));
    tests(&with_containers("journeys"), &without(&NOT_SHARED), Some(broker))
}

fn tests(which: &[&str], runner: &[String], broker: Option<&str>) -> anyhow::Result<()> {
    let nextest = has_nextest();
    let mut command = if nextest {
        let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
        workspace::command(&["nextest", "run", "--profile", profile])
    } else {
        workspace::command(&["test", "--no-fail-fast"])
    };
    command.args(which).args(runner).env("AEGIR_BIN_DIR", workspace::target().join("debug"));
    if let Some(url) = broker {
        command.env(URL_VARIABLE, url).env_remove(IMAGE_VARIABLE);
    }
    if nextest {
        return workspace::run(command);
    }
    if which.last() == Some(&"containers") {
        // What the groups in .config/nextest.toml keep apart.
        command.env("RUST_TEST_THREADS", "1");
    }
    counted(command)
}

fn has_nextest() -> bool {
    let asked =
        workspace::command(&["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// cargo's own runner counts for each binary on its own: passes its lines on and closes with the sum.
fn counted(mut command: Command) -> anyhow::Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("can't start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    let mut sum = Sum::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("can't read what cargo test says")?;
        let mut out = std::io::stdout().lock();
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).context("can't write")?;
        sum.add(&String::from_utf8_lossy(&line));
    }
    let status = child.wait().context("can't wait for cargo test")?;
    println!(
        "{} tests run: {} passed, {} failed, {} skipped",
        sum.run(),
        sum.passed,
        sum.failed,
        sum.skipped
    );
    if !status.success() {
        bail!("cargo test failed ({status})");
    }
    Ok(())
}

/// The counts of all binaries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Sum {
    fn run(&self) -> u64 {
        self.passed + self.failed
    }

    /// Adds a line such as `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in counts.split("; ") {
            let Some((count, word)) = part.split_once(' ') else { continue };
            let Ok(count) = count.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let mut sum = Sum::default();
        sum.add(
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.1s",
        );
        sum.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        sum.add("test a::b ... ok");
        assert_eq!(sum, Sum { passed: 8, failed: 2, skipped: 1 });
        assert_eq!(sum.run(), 10);
    }
}
