//! relayd with a bug on purpose, to show that the checker finds it. A bug is a patch below `bugs/`, which begins with what it does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::workspace;

/// A patch, by its name.
#[derive(Clone, Debug)]
pub(super) struct Bug(String);

impl Bug {
    /// # Errors
    /// When there is no such patch.
    pub(super) fn parse(name: &str) -> Result<Self, String> {
        let names = names().map_err(|error| format!("{error:#}"))?;
        if names.iter().any(|known| known == name) {
            return Ok(Self(name.to_owned()));
        }
        Err(format!("there is no such bug; there are {}", names.join(", ")))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    fn patch(&self) -> PathBuf {
        patches().join(&self.0).with_extension("patch")
    }
}

fn patches() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/chaos/bugs")
}

fn names() -> anyhow::Result<Vec<String>> {
    let directory = patches();
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut names: Vec<_> =
        paths.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// Builds daemons, and gives the directory that they are in. Those with a bug are built from a copy of the work tree, far from
/// those without.
pub(super) fn build(bug: Option<&Bug>) -> anyhow::Result<PathBuf> {
    let mut command = workspace::command(&["build", "--workspace", "--bins"]);
    let mut target = workspace::target();
    if let Some(bug) = bug {
        target = target.join("chaos-bugs");
        let copy = target.join("tree");
        copy_tree(&copy)?;
        workspace::run(git(&copy, &["apply", &bug.patch().to_string_lossy()])?)?;
        command = workspace::command(&["build", "--package", "relayd", "--package", "dispatcherd"]);
        command.arg("--target-dir").arg(&target).current_dir(copy);
    }
    workspace::run(command)?;
    Ok(target.join("debug"))
}

/// Makes `copy` what the work tree is, with what is not committed. A file that is the same is not touched, so that cargo builds
/// little again.
fn copy_tree(copy: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(copy).with_context(|| format!("cannot make {}", copy.display()))?;
    let index = copy.with_file_name("tree.index");
    let mut add = git(&workspace::root(), &["add", "--all"])?;
    add.env("GIT_INDEX_FILE", &index);
    workspace::run(add)?;
    let mut write = git(&workspace::root(), &["write-tree"])?;
    write.env("GIT_INDEX_FILE", &index);
    let tree = output(write)?;
    let mut read = git(copy, &["read-tree", "--reset", "-u", &tree])?;
    read.env("GIT_INDEX_FILE", copy.with_file_name("copy.index"));
    workspace::run(read)
}

/// git with the repository's objects, and `tree` as its work tree.
fn git(tree: &Path, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut directory = Command::new("git");
    directory.args(["rev-parse", "--absolute-git-dir"]).current_dir(workspace::root());
    let mut command = Command::new("git");
    command.args(arguments).current_dir(tree);
    command.env("GIT_DIR", output(directory)?).env("GIT_WORK_TREE", tree);
    Ok(command)
}

fn output(mut command: Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot start git")?;
    ensure!(output.status.success(), "git failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout).context("git gave no text")?.trim_end().to_owned())
}
