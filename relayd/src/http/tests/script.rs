//! The page's script, where it needs no browser.

use std::process::Command;

/// Runs `assets/page.test.mjs` with Node. Without Node this is left out, but never in CI.
#[test]
fn the_pure_parts_of_the_script() {
    let directory = tempfile::tempdir().unwrap();
    let assets = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
    // By its name Node knows that it is a module.
    std::fs::copy(format!("{assets}/page.js"), directory.path().join("page.mjs")).unwrap();
    std::fs::copy(format!("{assets}/page.test.mjs"), directory.path().join("page.test.mjs")).unwrap();
    let output = match Command::new("node").arg("page.test.mjs").current_dir(&directory).output() {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("NOT TESTED: the page's script, because node can't be started: {error}");
            return;
        }
        Err(error) => panic!("node can't be started: {error}"),
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}
