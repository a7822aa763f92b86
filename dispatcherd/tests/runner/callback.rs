//! The callback plug-in by itself, without a playbook: what it makes of results. In Python, as it is.

use std::path::Path;
use std::process::Command;

#[test]
fn the_callback_plug_in_loses_no_step() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runner/callback_test.py");
    // The Python of the ansible-playbook that the other tests use stands beside that.
    let python = std::env::var_os("AEGIR_TEST_ANSIBLE_PLAYBOOK")
        .map_or_else(|| "/usr/bin/python3".into(), |playbook| Path::new(&playbook).with_file_name("python3"));
    let output = Command::new(python).arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
