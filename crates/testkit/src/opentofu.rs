//! OpenTofu. No package brings it, so a test takes one of two:
//!
//! - the real one: `tofu`, or `terraform`, which it came from and whose commands and formats are the same here, where `PATH`
//!   has one of them;
//! - a stand-in that replays what Terraform 1.11.4 answered to the same questions about [`role`].
//!
//! OpenTofu itself was not at hand when these were written.

use std::path::{Path, PathBuf};

/// A real program; where there is none, a test that needs one says aloud that it tried nothing.
#[must_use]
pub fn real() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories: Vec<_> = std::env::split_paths(&path).collect();
    let found = ["tofu", "terraform"]
        .into_iter()
        .find(|name| directories.iter().any(|directory| directory.join(name).is_file()));
    match found {
        Some(name) => eprintln!("with the real program {name}"),
        None => eprintln!("neither tofu nor terraform is here; only recorded answers are tried"),
    }
    found.map(str::to_owned)
}

/// The stand-in.
#[must_use]
pub fn recorded() -> String {
    here().join("recorded/program.sh").display().to_string()
}

/// A role whose `files/infra` is a configuration that needs no provider to be fetched.
#[must_use]
pub fn role() -> PathBuf {
    here().join("role")
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("opentofu")
}
