//! What the pages have their readers type: taken from the pages as it stands, for the tests that run it, and a test that
//! every such block is run by one of them or is in the list of those that can't be, with the reason.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Which test takes a page's blocks from it and runs them: the page, the test's file, the test.
const RUN: &[(&str, &str, &str)] = &[
    (
        "docs/tutorial/first-operation.md",
        "tests/journeys/tutorial.rs",
        "the_first_tutorials_commands_do_what_it_says",
    ),
    ("docs/tutorial/roles.md", "tests/journeys/tutorial.rs", "the_roles_of_the_tutorial_do_what_it_says"),
    (
        "docs/howto/write-a-runner.md",
        "tests/journeys/tutorial.rs",
        "the_roles_of_the_tutorial_do_what_it_says",
    ),
    (
        "docs/reference/http-api.md",
        "tests/journeys/php.rs",
        "the_programs_of_the_http_apis_page_do_what_it_says",
    ),
    (
        "docs/howto/install.md",
        "tests/containers/install_page.rs",
        "the_install_page_ends_with_everything_running",
    ),
];

const DDEV: &str =
    "needs DDEV; tests/containers/localdev.rs runs the add-on's services and commands without it";
const ROOT: &str =
    "needs minions with systemd as root; tests/containers/php*.rs deploy there with the same operations";

/// What no test runs as it stands: the page, how the command begins, and why.
const NOT_RUN: &[(&str, &str, &str)] = &[
    ("README.md", "cargo xtask demo", "`.ci/run` runs it, with --once and --port-base"),
    ("README.md", "cargo xtask test", "is what runs these tests"),
    (
        "docs/tutorial/first-operation.md",
        "cargo xtask demo",
        "the test starts the same parts, with the demo's own files",
    ),
    ("docs/tutorial/roles.md", "sudo apt-get install", "the packages are installed before the tests"),
    ("docs/tutorial/ddev.md", "", DDEV),
    ("docs/howto/debug-a-role.md", "ddev ", DDEV),
    ("docs/howto/host-a-php-application.md", "aegir run ", ROOT),
    (
        "docs/howto/use-kubernetes.md",
        "aegir run k8s_site.deploy",
        "needs a cluster; tests/journeys/runners.rs has a stand-in",
    ),
    (
        "docs/reference/cli.md",
        "aegir run static_site.deploy",
        "names a minion of an operator; the tutorial has one that is there",
    ),
    (
        "docs/reference/cli.md",
        "aegir dead",
        "needs dead letters of these numbers; tests/journeys/bad_input.rs makes some",
    ),
    ("docs/reference/reliability.md", "cd crates/protocol", "needs a nightly compiler"),
    (
        "docs/reference/reliability.md",
        "cargo xtask chaos",
        "takes half an hour; .ci/run plays a few schedules",
    ),
];

/// The languages of blocks that are typed.
const SHELLS: [&str; 4] = ["console", "sh", "bash", "shell"];

/// What a page has its reader do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write a file: a block after a line that ends with the path in backticks and a colon.
    Write { path: String, text: String },
    /// Run a command, with what the page shows of its output: a line each, `…` for what varies.
    Run { command: String, output: Vec<String> },
}

/// Where the repository is.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What the reader of a page does, in its order. A `console` block shows commands after `$ ` and their output; a block
/// of another shell is one script.
pub(crate) fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some(language) = line.trim_start().strip_prefix("```") else {
            if !line.is_empty() {
                before = line;
            }
            continue;
        };
        let block: Vec<_> = lines
            .by_ref()
            .map(|line| line.strip_prefix(indent).unwrap_or(line))
            .take_while(|line| *line != "```")
            .collect();
        let path = before.strip_suffix("`:").and_then(|before| before.rsplit('`').next());
        if let Some(path) = path {
            steps.push(Step::Write { path: path.to_owned(), text: block.join("\n") + "\n" });
        } else if language == "console" {
            steps.extend(console(&block));
        } else if SHELLS.contains(&language) {
            steps.push(Step::Run { command: block.join("\n"), output: Vec::new() });
        }
        before = "";
    }
    steps
}

/// The commands of a `console` block; one goes on in the next line after a backslash.
fn console(block: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = block.iter();
    while let Some(line) = lines.next() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(first), _) => {
                let mut command = first.to_owned();
                while let (true, Some(more)) = (command.ends_with('\\'), lines.as_slice().first()) {
                    command = format!("{command}\n{more}");
                    lines.next();
                }
                steps.push(Step::Run { command, output: Vec::new() });
            }
            (None, Some(Step::Run { output, .. })) => output.push((*line).to_owned()),
            (None, _) => {}
        }
    }
    steps
}

/// Why a command of a page is run by no test, where it is not.
pub(crate) fn not_run(page: &str, command: &str) -> Option<&'static str> {
    let entry = NOT_RUN.iter().find(|(of, start, _)| *of == page && command.starts_with(start));
    entry.map(|(_, _, why)| *why)
}

fn pages(below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(below)? {
        let path = entry?.path();
        if path.is_dir() {
            pages(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn what_a_reader_types_is_run_by_a_test_or_the_reason_is_listed() -> Result<()> {
    let root = root();
    let mut found = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut found)?;
    let mut used = vec![false; NOT_RUN.len()];
    let mut typed = Vec::new();
    for path in &found {
        let page = path.strip_prefix(&root)?.to_str().unwrap_or_default();
        for step in steps(&std::fs::read_to_string(path)?) {
            let Step::Run { command, .. } = step else { continue };
            let entry = NOT_RUN.iter().position(|(of, start, _)| *of == page && command.starts_with(start));
            if let Some(entry) = entry {
                used[entry] = true;
            } else {
                typed.push(page.to_owned());
                let run = RUN.iter().any(|(of, _, _)| *of == page);
                ensure!(
                    run,
                    "{page} has its reader type {command:?}: let a test run it (RUN), or say why not (NOT_RUN)"
                );
            }
        }
    }
    for ((page, start, _), used) in NOT_RUN.iter().zip(used) {
        ensure!(used, "{page} has no command that begins with {start:?} any more");
    }
    for (page, file, test) in RUN.iter().filter(|(page, _, _)| typed.iter().any(|of| of == page)) {
        let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        let (_, body) = source.split_once(&format!("fn {test}(")).unwrap_or_default();
        let body = body.split("\n}\n").next().unwrap_or_default();
        ensure!(body.contains(page), "{test} in {file} does not take its commands from {page}");
    }
    Ok(())
}

#[test]
fn commands_are_taken_from_a_page_as_they_stand() {
    let page = "1. Look:\n\n   ```console\n   $ a \\\n       b\n   shown\n   $ c\n   ```\n\n`x/y`:\n\n```yaml\nz: 1\n```\n\n\
                ```sh\nd\ne\n```\n\n```toml\nf = 1\n```\n";
    let run = |command: &str, output: &[&str]| Step::Run {
        command: command.to_owned(),
        output: output.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(
        steps(page),
        [
            run("a \\\n    b", &["shown"]),
            run("c", &[]),
            Step::Write { path: "x/y".to_owned(), text: "z: 1\n".to_owned() },
            run("d\ne", &[]),
        ]
    );
}
