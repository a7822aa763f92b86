//! Roles by digest: `<content>/<digest>/<role>/`, or `<content>/<digest>/ansible_collections/<namespace>/<name>/`.
//!
//! An attempt runs the role as it was when the attempt was planned, so that an upgrade in the middle of a
//! deploy changes nothing under it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use aegir_attempt::plan::PLUGINS;
use aegir_role::files::{self, FileKind, FilesError};
use aegir_service::io_error::is_transient;

/// Why a role could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The role can't be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The copy can't be written.
    #[error("could not write {}: {error}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The roles can't be read now, which says nothing against them.
    #[error("{0}")]
    Busy(String),
    /// Somebody edits the role right now.
    #[error("its files changed while they were read: it is read again in a moment")]
    Changing,
}

impl SnapshotError {
    /// Whether the copy can be made when there is room again.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Write { error, .. } | Self::Files(FilesError::Read { error, .. }) => is_transient(error),
            Self::Busy(_) => true,
            Self::Files(_) | Self::Changing => false,
        }
    }
}

/// A role, or a collection, of those that make a digest.
#[derive(Clone, Debug)]
pub struct ContentPart<'a> {
    /// Where it stands below the directory of the digest's name.
    pub inside: PathBuf,
    /// Where it is copied from.
    pub files: &'a Path,
    /// SHA-256 of its files.
    pub digest: &'a str,
}

/// Makes sure that what has this digest, which is that of the first part and of those that it uses, stands below the
/// content directory. A copy that is there already is used as it is: a digest names one content only.
///
/// # Errors
/// When a role can't be read or the copy not be written.
pub fn keep(content: &Path, parts: &[ContentPart<'_>], digest: &str) -> Result<(), SnapshotError> {
    let place = content.join(digest);
    if parts.iter().all(|part| place.join(&part.inside).is_dir()) {
        return Ok(());
    }
    std::fs::create_dir_all(content).map_err(write(content))?;
    let new = tempfile::Builder::new().prefix(".new-").tempdir_in(content).map_err(write(content))?;
    // The temporary directory is private; the copy is as readable as the state directory lets it be.
    std::fs::set_permissions(new.path(), Permissions::from_mode(0o755)).map_err(write(new.path()))?;
    for ContentPart { inside, files, digest } in parts {
        let copy = new.path().join(inside);
        let above = copy.parent().unwrap_or(new.path());
        std::fs::create_dir_all(above).map_err(write(above))?;
        copy_all(files, &copy)?;
        if files::digest(&copy)? != *digest {
            return Err(SnapshotError::Changing);
        }
    }
    let new = new.keep();
    match std::fs::rename(&new, &place) {
        Ok(()) => File::open(content).and_then(|directory| directory.sync_all()).map_err(write(content)),
        // Another role with the same files was here first: the copy goes in beside it.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) =>
        {
            let mut missing = parts.iter().filter(|part| !place.join(&part.inside).is_dir());
            let moved = missing
                .try_for_each(|part| std::fs::rename(new.join(&part.inside), place.join(&part.inside)));
            let removed = std::fs::remove_dir_all(&new);
            moved.and(removed).map_err(write(&place))
        }
        Err(error) => Err(write(&place)(error)),
    }
}

/// Makes sure that our own plug-ins for Ansible stand below the content directory as they are now, and says their digest;
/// `None` when there are none, which is for the runner to say.
///
/// # Errors
/// When they can't be read or the copy not be written.
pub fn keep_plugins(content: &Path, plugins: &Path) -> Result<Option<String>, SnapshotError> {
    if !plugins.is_dir() {
        return Ok(None);
    }
    let digest = files::digest(plugins)?;
    keep(content, &[ContentPart { inside: PLUGINS.into(), files: plugins, digest: &digest }], &digest)?;
    Ok(Some(digest))
}

fn write(path: &Path) -> impl FnOnce(io::Error) -> SnapshotError {
    let path = path.to_owned();
    move |error| SnapshotError::Write { path, error }
}

fn copy_all(from: &Path, to: &Path) -> Result<(), SnapshotError> {
    std::fs::create_dir(to).map_err(write(to))?;
    let mut directories = vec![to.to_owned()];
    for entry in files::list(from)? {
        let (source, target) = (from.join(&entry.path), to.join(&entry.path));
        match entry.kind {
            FileKind::Directory => {
                std::fs::create_dir(&target).map_err(write(&target))?;
                directories.push(target);
            }
            FileKind::Link(to) => symlink(to, &target).map_err(write(&target))?,
            FileKind::File { executable } => {
                copy_file(&source, &target, executable).map_err(write(&target))?;
            }
        }
    }
    for directory in directories {
        File::open(&directory).and_then(|file| file.sync_all()).map_err(write(&directory))?;
    }
    Ok(())
}

fn copy_file(source: &Path, target: &Path, executable: bool) -> io::Result<()> {
    let mut from = File::open(source)?;
    let mut to = File::create_new(target)?;
    io::copy(&mut from, &mut to)?;
    to.set_permissions(Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    to.sync_all()
}

/// Removes copies that are neither in `used` nor younger than a day, and what an interrupted copy left.
/// Says how many went.
///
/// # Errors
/// When the content directory can't be read.
pub fn remove_unused(content: &Path, used: &dyn Fn(&str) -> bool) -> io::Result<usize> {
    const YOUNG: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let mut removed = 0;
    let entries = match std::fs::read_dir(content) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let age = entry.metadata()?.modified()?.elapsed().unwrap_or_default();
        if age < YOUNG || used(&entry.file_name().to_string_lossy()) {
            continue;
        }
        std::fs::remove_dir_all(entry.path())?;
        removed += 1;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(content: &Path, name: &str, files: &Path, digest: &str) -> Result<(), SnapshotError> {
        keep(content, &[ContentPart { inside: name.into(), files, digest }], digest)
    }

    fn role() -> tempfile::TempDir {
        let role = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(role.path().join("files/deep")).unwrap();
        std::fs::write(role.path().join("files/deep/run"), "#!/bin/sh").unwrap();
        std::fs::set_permissions(role.path().join("files/deep/run"), Permissions::from_mode(0o750)).unwrap();
        symlink("deep/run", role.path().join("files/link")).unwrap();
        role
    }

    #[test]
    fn a_copy_has_the_digest_and_survives_an_upgrade() {
        let (role, content) = (role(), tempfile::tempdir().unwrap());
        let first = files::digest(role.path()).unwrap();
        kept(content.path(), "example", role.path(), &first).unwrap();
        std::fs::write(role.path().join("files/deep/run"), "other").unwrap();
        let second = files::digest(role.path()).unwrap();
        kept(content.path(), "example", role.path(), &second).unwrap();
        kept(content.path(), "example", role.path(), &second).unwrap();
        for digest in [first, second] {
            let copy = content.path().join(&digest).join("example");
            assert_eq!(files::digest(&copy).unwrap(), digest);
        }
        assert_eq!(std::fs::read_dir(content.path()).unwrap().count(), 2);
    }

    #[test]
    fn an_upgrade_of_our_plug_ins_leaves_the_copy_that_an_attempt_has() {
        let (plugins, content) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let version = plugins.path().join("version");
        let kept = || keep_plugins(content.path(), plugins.path()).unwrap().unwrap();
        std::fs::write(&version, "1").unwrap();
        let first = kept();
        std::fs::write(&version, "2").unwrap();
        let second = kept();
        for (digest, text) in [(&first, "1"), (&second, "2")] {
            let copy = content.path().join(digest).join(PLUGINS).join("version");
            assert_eq!(std::fs::read_to_string(copy).unwrap(), text);
        }
        assert_eq!(keep_plugins(content.path(), Path::new("/no/such/plug-ins")).unwrap(), None);
    }

    #[test]
    fn two_names_may_share_a_digest() {
        let (role, content) = (role(), tempfile::tempdir().unwrap());
        let digest = files::digest(role.path()).unwrap();
        for name in ["one", "two"] {
            kept(content.path(), name, role.path(), &digest).unwrap();
            assert_eq!(files::digest(&content.path().join(&digest).join(name)).unwrap(), digest);
        }
        assert_eq!(std::fs::read_dir(content.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_role_that_changes_meanwhile_is_not_kept_under_the_wrong_digest() {
        let (role, content) = (role(), tempfile::tempdir().unwrap());
        let changed = kept(content.path(), "example", role.path(), "0000");
        assert!(matches!(changed, Err(SnapshotError::Changing)));
        assert_eq!(std::fs::read_dir(content.path()).unwrap().count(), 0);
    }
}
