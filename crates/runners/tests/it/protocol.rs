//! Both runners keep to the protocol, as `aegir runner check` sees it.

use std::process::Command;

use super::cluster::Cluster;
use super::runner::Runner;
use super::{kubernetes, opentofu};

fn check(runner: &Runner) {
    let output = Command::new(aegir_testkit::daemon::binary("aegir").unwrap())
        .args(["runner", "check", "--role"])
        .arg(&runner.role_directory)
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
    let cluster = Cluster::start();
    check(&kubernetes::site(&cluster));
}

#[test]
fn opentofu_keeps_to_it() {
    let states = tempfile::tempdir().unwrap();
    check(&opentofu::runner(&opentofu::recorded(), states.path()));
}
