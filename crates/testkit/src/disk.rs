//! A small file system that a test can fill, with bytes or with files, and make read-only: a tmpfs.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// What takes the room away: a file with bytes, and a directory with files.
const BALLAST: [&str; 2] = ["ballast", "ballast.d"];
/// So many files it can hold.
const FILES: u32 = 2000;

/// A file system of its own, until it is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `size` (as tmpfs has it: `4m`) at `path`, which is made. Mounting needs root: without it there
    /// is none, which is said on standard error; in CI (`CI` is set) that is an error.
    ///
    /// # Errors
    ///
    /// If it can't be mounted by root, or in CI.
    pub fn mount(path: &Path, size: &str) -> anyhow::Result<Option<Self>> {
        std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
        let options = format!("size={size},nr_inodes={FILES},mode=755");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "none"], path);
        match mounted {
            Ok(()) => Ok(Some(Self { path: path.to_owned() })),
            Err(error) if std::env::var_os("CI").is_none() && !rustix::process::geteuid().is_root() => {
                eprintln!(
                    "SKIPPED: this test needs a file system of its own, which only root can mount: {error}"
                );
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all room but about so many bytes.
    ///
    /// # Errors
    ///
    /// If it can't be written for another reason than that it is full.
    pub fn fill(&self, leave: u64) -> anyhow::Result<()> {
        let path = self.path.join(BALLAST[0]);
        let mut ballast =
            File::options().create(true).append(true).open(&path).context("cannot fill the disk")?;
        loop {
            match ballast.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        let length = ballast.metadata().context("cannot measure the ballast")?.len();
        ballast.set_len(length.saturating_sub(leave)).context("cannot leave room on the disk")
    }

    /// Takes all room for further files but so many: what is there can grow, and nothing new can be made.
    ///
    /// # Errors
    ///
    /// If a file can't be made for another reason than that there are too many.
    pub fn fill_with_files(&self, leave: usize) -> anyhow::Result<()> {
        let ballast = self.path.join(BALLAST[1]);
        std::fs::create_dir(&ballast).context("cannot fill the disk")?;
        let files: Vec<_> = (0..FILES).map(|number| ballast.join(number.to_string())).collect();
        let mut made = Vec::new();
        for file in &files {
            match File::create(file) {
                Ok(_) => made.push(file),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        for file in made.iter().rev().take(leave) {
            std::fs::remove_file(file).context("cannot leave room on the disk")?;
        }
        Ok(())
    }

    /// Gives back all room that [`fill`](Self::fill) and [`fill_with_files`](Self::fill_with_files) took.
    ///
    /// # Errors
    ///
    /// If what takes it can't be removed.
    pub fn make_room(&self) -> anyhow::Result<()> {
        let [bytes, files] = BALLAST.map(|name| self.path.join(name));
        for removed in [std::fs::remove_file(bytes), std::fs::remove_dir_all(files)] {
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context("cannot make room on the disk");
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Makes it read-only, or writable again. Refused while a file on it is open for writing.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn read_only(&self, read_only: bool) -> anyhow::Result<()> {
        let options = if read_only { "remount,ro" } else { "remount,rw" };
        mount(&["-o", options], &self.path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whatever still uses it keeps it until its end.
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> anyhow::Result<()> {
    let output = Command::new("mount").args(arguments).arg(path).output().context("cannot run mount")?;
    if !output.status.success() {
        bail!("mount: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
