//! A small file system for a daemon's state, so that it can be full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// Room for the state of one schedule, and little enough to be filled in a moment.
const SIZE: &str = "size=96m";

/// What the list of mounts calls ours.
const SOURCE: &str = "aegir-chaos";

/// Whether this process may mount one.
pub(super) fn can_mount() -> bool {
    let Ok(directory) = tempfile::tempdir() else { return false };
    Disk::mount(directory.path()).is_ok()
}

/// Takes away those that an earlier run which was killed has left below a directory.
pub(super) fn release(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours = mounts.lines().filter_map(|line| line.strip_prefix(SOURCE)?.trim_start().split(' ').next());
    for path in ours.map(Path::new).filter(|path| path.starts_with(directory)) {
        release_one(path);
    }
}

/// Lazily, for somebody may still have a file open there.
fn release_one(path: &Path) {
    let _ = Command::new("umount").arg("--lazy").arg(path).status();
}

/// A mounted one. Dropping it takes it away.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    pub(super) fn mount(path: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, SOURCE])
            .arg(path)
            .output()
            .context("cannot start mount")?;
        if !output.status.success() {
            bail!("cannot mount {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { path: path.to_owned() })
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let mut file = fs::File::create(self.filler()).context("cannot make the filler")?;
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![0_u8; size];
            while file.write_all(&block).is_ok() {}
        }
        Ok(())
    }

    pub(super) fn empty(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("cannot remove the filler")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        release_one(&self.path);
    }
}
