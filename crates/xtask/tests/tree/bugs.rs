//! Each bug on purpose, which `cargo xtask chaos --break` puts into a copy, fits the tree as it is.

use std::fs;
use std::process::Command;

use crate::source;

const PATCHES: &str = "crates/xtask/src/chaos/bugs";

#[test]
fn each_bug_on_purpose_fits_the_tree() {
    let mut wrong = Vec::new();
    let mut found = 0;
    for entry in fs::read_dir(source::root().join(PATCHES)).unwrap() {
        let patch = entry.unwrap().path();
        let mut apply = Command::new("git");
        apply.args(["apply", "--check"]).arg(&patch).current_dir(source::root());
        let output = apply.output().unwrap();
        found += 1;
        if !output.status.success() {
            wrong.push(format!("{}: {}", patch.display(), String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(found >= 4, "{PATCHES} has {found} patches");
    assert!(wrong.is_empty(), "what these patches change has moved; make them anew:\n{}", wrong.join("\n"));
}
