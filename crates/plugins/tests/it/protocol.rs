//! Both runners keep to the protocol, as `aegir runner check` sees it.

use std::process::Command;

use aegir_testkit::ApiServer;
use aegir_testkit::opentofu::{real, recorded};

use super::runner::{self, Runner};
use super::{kubernetes, opentofu};

fn check(runner: &Runner) {
    let output = Command::new(aegir_testkit::daemon::binary("aegir").unwrap())
        .args(["runner", "check", "--role"])
        .arg(&runner.role_directory)
        .args(runner::ABSENT.iter().flat_map(|name| ["--absent", name]))
        .args(["--with", &runner.settings.to_string(), "--variables", &runner.variables.to_string()])
        .arg(env!("CARGO_BIN_EXE_aegir-runner"))
        .args(&runner.options)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().filter(|line| line.starts_with("good ")).count(), 11, "{text}");
}

#[test]
fn kubernetes_keeps_to_it() {
    let cluster = ApiServer::start();
    check(&kubernetes::site(&cluster));
}

#[test]
fn opentofu_keeps_to_it_with_recorded_answers() {
    let states = tempfile::tempdir().unwrap();
    check(&opentofu::runner(&recorded(), states.path()));
}

#[test]
fn opentofu_keeps_to_it_with_the_real_program() {
    let states = tempfile::tempdir().unwrap();
    if let Some(program) = real() {
        check(&opentofu::runner(&program, states.path()));
    }
}
