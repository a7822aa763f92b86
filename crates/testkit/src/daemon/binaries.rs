//! Where the programs under test are, and building them.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

/// Names the directory with the programs; then nothing is built.
const DIRECTORY_VARIABLE: &str = "AEGIR_BIN_DIR";
/// The programs' directory, or why they can't be built.
static DIRECTORY: OnceLock<Result<PathBuf, String>> = OnceLock::new();

/// Says where the programs are, so that nothing is built. Whoever says it first is believed.
pub fn use_binaries(directory: &Path) {
    let _ = DIRECTORY.set(Ok(directory.to_owned()));
}

/// The path of `relayd`, `dispatcherd` or `aegir`, as built from the sources as they are now. cargo does not
/// build another package's programs for a test, so this does, once for each test run.
///
/// # Errors
///
/// If they can't be built; the message holds what cargo says.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let directory = match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) => PathBuf::from(directory),
        None => match DIRECTORY.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
            Ok(directory) => directory.clone(),
            Err(error) => bail!("{error}"),
        },
    };
    let path = directory.join(name);
    if !path.is_file() {
        bail!("{} is missing: run `cargo build --workspace --bins`", path.display());
    }
    Ok(path)
}

/// Builds into the directory that this very program was built into.
fn build() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("this program does not know where it is")?;
    let directory = program
        .ancestors()
        .skip(1)
        .find(|path| !path.ends_with("deps") && !path.ends_with("examples"))
        .context("this program lies nowhere")?
        .to_owned();
    let stamp = directory.join(".aegir-built-for");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&stamp)
        .with_context(|| format!("cannot open {}", stamp.display()))?;
    // The first test process of a run builds while the others wait here.
    flock(&file, FlockOperation::LockExclusive).context("cannot lock the stamp")?;
    let run = std::env::var("NEXTEST_RUN_ID").ok();
    let mut built_for = String::new();
    file.read_to_string(&mut built_for).context("cannot read the stamp")?;
    if run.as_ref() != Some(&built_for) {
        cargo(&directory)?;
        if let Some(run) = run {
            file.set_len(0).and_then(|()| file.rewind()).context("cannot empty the stamp")?;
            file.write_all(run.as_bytes()).context("cannot write the stamp")?;
        }
    }
    Ok(directory)
}

fn cargo(directory: &Path) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // All of them, as `cargo xtask test` does: what is built for fewer packages has other features, and is built
    // a second time.
    command.args(["build", "--workspace", "--bins"]).current_dir(root);
    if directory.ends_with("release") {
        command.arg("--release");
    }
    // What the test runner says about the test would make cargo believe that everything has changed.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "NEXTEST"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name.as_ref());
        }
    }
    command.env_remove("LD_LIBRARY_PATH");
    let output = command.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo can't build the daemons:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
