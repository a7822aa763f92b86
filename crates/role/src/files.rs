//! A role's files: what they are, and their digest.
//!
//! The digest covers relative paths, whether a file may be executed, where links lead, and contents. Owners,
//! times and other modes do not matter to Ansible and are left out, so that a fresh checkout of the same
//! role has the same digest.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// The most bytes that all files of a role may have together. A role is text and templates; what is larger
/// belongs into an archive that the role fetches.
pub const MAX_ROLE: u64 = 64 * 1024 * 1024;

/// Why a role's files can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file system says no.
    #[error("{} can't be read: {error}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// A link that does not stay.
    #[error(
        "{} is a link that leads out of the role, or nowhere: put the file itself there", .0.display()
    )]
    Link(PathBuf),
    /// Neither file, nor directory, nor link.
    #[error("{} is neither a file nor a directory nor a link: remove it", .0.display())]
    FileKind(PathBuf),
    /// More than a role may have.
    #[error("its files have more than {MAX_ROLE} bytes: let the role fetch what is large")]
    TooLarge,
}

/// One file of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the role.
    pub path: PathBuf,
    /// What it is.
    pub kind: FileKind,
}

/// What a file of a role is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A file, executable or not.
    File {
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A link to somewhere else in the role, as it is written.
    Link(PathBuf),
}

/// All that is below a role's directory, sorted by path.
///
/// # Errors
/// When something can't be read, or is not what a role may have.
pub fn list(role: &Path) -> Result<Vec<Entry>, FilesError> {
    let root = role.canonicalize().map_err(|error| FilesError::Read { path: role.to_owned(), error })?;
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        let read = |error| FilesError::Read { path: role.join(&directory), error };
        for found in std::fs::read_dir(role.join(&directory)).map_err(read)? {
            let found = found.map_err(read)?;
            let path = directory.join(found.file_name());
            let metadata = found.metadata().map_err(read)?;
            let kind = if metadata.is_dir() {
                directories.push(path.clone());
                FileKind::Directory
            } else if metadata.is_file() {
                bytes += metadata.len();
                FileKind::File { executable: metadata.permissions().mode() & 0o100 != 0 }
            } else if metadata.is_symlink() {
                FileKind::Link(link(&root, &found.path(), &path)?)
            } else {
                return Err(FilesError::FileKind(path));
            };
            entries.push(Entry { path, kind });
        }
        if bytes > MAX_ROLE {
            return Err(FilesError::TooLarge);
        }
    }
    entries.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
    Ok(entries)
}

fn link(root: &Path, absolute: &Path, relative: &Path) -> Result<PathBuf, FilesError> {
    let leaves = || FilesError::Link(relative.to_owned());
    let target = std::fs::read_link(absolute)
        .map_err(|error| FilesError::Read { path: relative.to_owned(), error })?;
    let end = absolute.canonicalize().map_err(|_| leaves())?;
    if target.is_absolute() || !end.starts_with(root) { Err(leaves()) } else { Ok(target) }
}

/// SHA-256 over a role's files, in hex.
///
/// # Errors
/// As [`list`].
pub fn digest(role: &Path) -> Result<String, FilesError> {
    let mut hash = Sha256::new();
    for Entry { path, kind } in list(role)? {
        match kind {
            // Git keeps no empty directories, so they make no difference here either.
            FileKind::Directory => {}
            FileKind::File { executable } => {
                field(&mut hash, if executable { b"executable" } else { b"file" });
                field(&mut hash, path.as_os_str().as_bytes());
                let length = contents(&mut hash, &role.join(&path))
                    .map_err(|error| FilesError::Read { path: path.clone(), error })?;
                // The length comes last because the file may grow while it is read.
                hash.update(length.to_be_bytes());
            }
            FileKind::Link(target) => {
                field(&mut hash, b"link");
                field(&mut hash, path.as_os_str().as_bytes());
                field(&mut hash, target.as_os_str().as_bytes());
            }
        }
    }
    Ok(hex::encode(hash.finalize()))
}

/// A length before each field keeps two different lists of fields from hashing alike.
fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

fn contents(hash: &mut Sha256, path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            read => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// A number that is another one when a file below these directories was made, changed, renamed or removed:
/// the cheap question whether reading everything again is worth it. Contents are not read.
#[must_use]
pub fn fingerprint(directories: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hash = DefaultHasher::new();
    let mut waiting: Vec<PathBuf> = directories.to_vec();
    while let Some(directory) = waiting.pop() {
        directory.hash(&mut hash);
        let Ok(found) = std::fs::read_dir(&directory) else { continue };
        let mut entries: Vec<_> = found.filter_map(Result::ok).collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(metadata) = entry.metadata() else { continue };
            (entry.file_name(), metadata.len(), metadata.mode(), metadata.ino()).hash(&mut hash);
            (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec())
                .hash(&mut hash);
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn role() -> tempfile::TempDir {
        let role = tempfile::tempdir().unwrap();
        std::fs::create_dir(role.path().join("tasks")).unwrap();
        std::fs::write(role.path().join("tasks/a.yml"), "a").unwrap();
        std::fs::write(role.path().join("tasks/b.yml"), "b").unwrap();
        role
    }

    #[test]
    fn equal_files_have_equal_digests() {
        assert_eq!(digest(role().path()).unwrap(), digest(role().path()).unwrap());
    }

    #[test]
    fn every_difference_that_matters_changes_the_digest() {
        let reference = digest(role().path()).unwrap();
        let changes: [fn(&Path); 5] = [
            |role| std::fs::write(role.join("tasks/a.yml"), "other").unwrap(),
            |role| std::fs::rename(role.join("tasks/a.yml"), role.join("tasks/c.yml")).unwrap(),
            |role| {
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(role.join("tasks/a.yml"), mode).unwrap();
            },
            |role| symlink("a.yml", role.join("tasks/link.yml")).unwrap(),
            |role| {
                std::fs::write(role.join("tasks/a.yml"), "ab").unwrap();
                std::fs::write(role.join("tasks/b.yml"), "").unwrap();
            },
        ];
        for (number, change) in changes.iter().enumerate() {
            let role = role();
            let before = fingerprint(&[role.path().to_owned()]);
            change(role.path());
            assert_ne!(digest(role.path()).unwrap(), reference, "change {number}");
            assert_ne!(fingerprint(&[role.path().to_owned()]), before, "change {number}");
        }
    }

    #[test]
    fn a_link_out_of_the_role_is_refused() {
        for target in ["/etc/passwd", "../../../etc/passwd", "nowhere", ".."] {
            let role = role();
            symlink(target, role.path().join("link")).unwrap();
            assert!(matches!(digest(role.path()), Err(FilesError::Link(_))), "{target}");
        }
    }
}
