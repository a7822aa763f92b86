//! A few bad messages on every queue; `cargo xtask fuzz` sends a million.

use std::process::Command;

#[test]
fn bad_messages_stop_no_daemon_and_are_all_accounted_for() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["fuzz", "--messages", "1000"]).output();
    let output = output.expect("xtask starts");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{text}");
    println!("{text}");
}
