//! The directories that a daemon owns: one that stays (`/var/lib/…`) and one in memory (`/run/…`).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aegir_protocol::code::Code;

/// In the state directory: held by the daemon for life, with its process id inside.
const LOCK: &str = "daemon.lock";
/// In a directory for a moment, to see whether it can be written.
const PROBE: &str = ".probe";
/// What the probe writes: a block, because a file system that is full may still have room for a name.
const PROBE_BYTES: usize = 4096;

/// `f_type` of the file systems that live in memory (statfs(2)).
const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another daemon uses it.
    #[error(
        "another daemon{} uses the state directory {path}: stop it, or configure another state_directory",
        holder(.pid.as_ref())
    )]
    InUse {
        path: PathBuf,
        /// The other one's process id, if it can be read.
        pid: Option<u32>,
    },
    /// It can't be made or written.
    #[error(
        "can't write to the directory {path}: {source}; make it belong to the user that this runs as, on a \
         file system that is mounted read-write"
    )]
    Unwritable { path: PathBuf, source: io::Error },
    /// Its file system is full.
    #[error("no space is left for the directory {path}: make room on its file system")]
    Full {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn holder(pid: Option<&u32>) -> String {
    pid.map_or(String::new(), |pid| format!(" (process {pid})"))
}

impl DirectoryError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::InUse { .. } => Code::StateDirectoryInUse,
            Self::Unwritable { .. } => Code::StateDirectoryUnwritable,
            Self::Full { .. } => Code::DiskFull,
        }
    }

    fn because(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Unwritable { path, source },
        }
    }
}

/// A directory that stays, and that no other daemon uses as long as this value lives.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
    /// The kernel drops the lock with the file, however the daemon ends. It is closed on exec, so that a
    /// runner that outlives the daemon does not hold it.
    _lock: File,
}

impl StateDirectory {
    /// Makes the directory (mode 0750) if need be, takes its lock, and sees whether it can be written.
    ///
    /// # Errors
    /// When another daemon has it, or it can't be written, or is full.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |error| DirectoryError::because(path, error);
        create(path, 0o750).map_err(failed)?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(lock_path)
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(DirectoryError::InUse { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // First of all, so that nobody reads the process id of the daemon before this one.
        lock.set_len(0).map_err(failed)?;
        probe(path).map_err(failed)?;
        writeln!(lock, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory for what must not outlive the machine's uptime, such as opened secrets. Only its owner may
/// look into it.
#[derive(Debug)]
pub struct RuntimeDirectory {
    path: PathBuf,
    in_memory: bool,
}

impl RuntimeDirectory {
    /// Makes the directory if need be, closes it to others (mode 0700), and sees whether it can be written.
    /// Warns when it is not in memory: what is removed from a disk can often be read from it all the same.
    ///
    /// # Errors
    /// When it can't be written, or is full.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let failed = |error| DirectoryError::because(path, error);
        create(path, 0o700).map_err(failed)?;
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o7777 != 0o700 {
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        }
        probe(path).map_err(failed)?;
        let system = rustix::fs::statfs(path).map_err(|errno| failed(errno.into()))?;
        let in_memory = lives_in_memory(system.f_type);
        if !in_memory {
            tracing::warn!(
                path = %path.display(),
                "the runtime directory is not on a memory file system: secrets touch the disk; use a \
                 directory under /run"
            );
        }
        Ok(Self { path: path.to_owned(), in_memory })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is in it never touches a disk (swap aside).
    #[must_use]
    pub fn in_memory(&self) -> bool {
        self.in_memory
    }
}

/// The directory that systemd has made for a service (`STATE_DIRECTORY`, `RUNTIME_DIRECTORY`: the first, if
/// there are several), or `otherwise`.
#[must_use]
pub fn from_environment(variable: &str, otherwise: &str) -> PathBuf {
    let value = std::env::var(variable).unwrap_or_default();
    first_of(&value).unwrap_or(otherwise).into()
}

fn first_of(value: &str) -> Option<&str> {
    value.split(':').find(|path| !path.is_empty())
}

/// The type of the `f_type` field is another one on some architectures.
fn lives_in_memory(kind: impl Into<i64>) -> bool {
    matches!(kind.into(), TMPFS_MAGIC | RAMFS_MAGIC)
}

fn create(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(PROBE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    let written = file.write_all(&[0; PROBE_BYTES]).and_then(|()| file.sync_data());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("var/lib/relayd");
        let first = StateDirectory::open(&path).unwrap();
        assert_eq!((first.path(), mode(&path)), (path.as_path(), 0o750));
        let error = StateDirectory::open(&path).unwrap_err();
        assert_eq!(error.code(), Code::StateDirectoryInUse);
        let (pid, path_text) = (std::process::id(), path.display());
        assert_eq!(
            error.to_string(),
            format!(
                "another daemon (process {pid}) uses the state directory {path_text}: stop it, or configure \
                 another state_directory"
            )
        );
        drop(first);
        StateDirectory::open(&path).unwrap();
        let left: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, [LOCK]);
    }

    #[test]
    fn what_can_not_be_a_directory_is_unwritable() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below"), "/proc/no/such".into()] {
            let error = StateDirectory::open(&path).unwrap_err();
            assert_eq!(error.code(), Code::StateDirectoryUnwritable, "{error}");
            assert_eq!(RuntimeDirectory::open(&path).unwrap_err().code(), error.code());
        }
    }

    #[test]
    fn the_systems_errors_are_told_apart() {
        for (errno, code) in [
            (Errno::NOSPC, Code::DiskFull),
            (Errno::DQUOT, Code::DiskFull),
            (Errno::ROFS, Code::StateDirectoryUnwritable),
            (Errno::ACCESS, Code::StateDirectoryUnwritable),
            (Errno::PERM, Code::StateDirectoryUnwritable),
            (Errno::IO, Code::StateDirectoryUnwritable),
        ] {
            let error = DirectoryError::because(Path::new("/state"), errno.into());
            assert_eq!(error.code(), code, "{errno}");
        }
    }

    #[test]
    fn the_runtime_directory_is_closed_to_others() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("run");
        DirBuilder::new().mode(0o755).create(&path).unwrap();
        let runtime = RuntimeDirectory::open(&path).unwrap();
        assert_eq!(mode(runtime.path()), 0o700);
    }

    #[test]
    fn memory_is_told_from_disk() {
        assert!(lives_in_memory(TMPFS_MAGIC) && lives_in_memory(RAMFS_MAGIC));
        assert!(!lives_in_memory(0xef53), "ext4");
        let shared = Path::new("/dev/shm");
        if rustix::fs::statfs(shared).is_ok_and(|system| lives_in_memory(system.f_type)) {
            let parent = tempfile::tempdir_in(shared).unwrap();
            assert!(RuntimeDirectory::open(&parent.path().join("run")).unwrap().in_memory());
        }
    }

    #[test]
    fn of_several_directories_the_first_is_taken() {
        assert_eq!(first_of("/var/lib/a:/var/lib/b"), Some("/var/lib/a"));
        assert_eq!(first_of(""), None);
        assert_eq!(from_environment("AEGIR_NO_SUCH_VARIABLE", "/var/lib/a"), Path::new("/var/lib/a"));
    }
}
