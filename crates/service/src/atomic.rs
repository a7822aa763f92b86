//! Replacing a file so that everybody, a machine that stops included, finds the old content or the new.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What of a file that was written is there after a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The new content.
    New,
    /// The new content or the old, or no file where there was none: whole in any case.
    Whole,
    /// Anything: it is for who looks before the machine ends.
    Nothing,
}

/// Writes a file beside its place, syncs it, moves it there, and syncs the directory. It has exactly this
/// mode from its first byte on.
///
/// # Errors
/// When any of it fails. The old content is then still there, unless only the directory's sync failed.
pub fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_durably(path, bytes, mode, Durability::New)
}

/// The same, with only as much synced as is needed.
///
/// # Errors
/// As [`write_file`].
pub fn write_durably(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let content = durability != Durability::Nothing;
    let written = write_new(&temporary, bytes, mode, content).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // It may not even exist; the first error is the one that matters.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    match durability {
        Durability::New => sync_directory(directory_of(path)),
        Durability::Whole | Durability::Nothing => Ok(()),
    }
}

/// Brings the names in a directory to the disk.
///
/// # Errors
/// When the system says that it could not.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory that a path is in.
fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_new(path: &Path, bytes: &[u8], mode: u32, sync: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(path)?;
    // Whatever the umask took away.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    if sync { file.sync_all() } else { Ok(()) }
}

/// A name that no other writer has, in this process or another. It starts with a dot and ends with `.new`, so
/// that one that a crash left behind is recognised.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} names no file", path.display()))
    })?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.{}.new", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn replaces_content_and_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for (content, mode) in [("old", 0o600), ("new", 0o640), ("last", 0o666)] {
            write_file(&path, content.as_bytes(), mode).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn many_writers_leave_one_whole_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        thread::scope(|scope| {
            for letter in b'a'..b'i' {
                let path = &path;
                scope.spawn(move || write_file(path, &[letter; 10_000], 0o600).unwrap());
            }
        });
        let content = fs::read(&path).unwrap();
        assert_eq!(content, [content[0]; 10_000]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_old_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "old").unwrap();
        assert!(write_file(&path, b"new", 0o600).is_err());
        assert_eq!(fs::read_to_string(path.join("inside")).unwrap(), "old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(write_file(Path::new("/"), b"new", 0o600).is_err());
    }
}
