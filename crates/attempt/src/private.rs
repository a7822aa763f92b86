//! What nobody else may read while an attempt runs: a directory (0700) on a memory file system.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use aegir_protocol::id::AttemptId;
use aegir_protocol::state::Reason;

/// Something below the runtime directory can't be written.
#[derive(Debug, thiserror::Error)]
#[error("can't write {path}")]
pub struct PrivateError {
    pub path: PathBuf,
    pub source: io::Error,
}

impl PrivateError {
    /// The reason that is recorded.
    #[must_use]
    pub fn reason(&self) -> Reason {
        aegir_service::io_error::code(&self.source).because(aegir_service::error::chain(self))
    }
}

/// The directory of one attempt on the memory file system, gone when this is dropped.
#[derive(Debug)]
pub struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    /// Where it is: `<runtime>/<operation>-<attempt>/`.
    #[must_use]
    pub fn path_of(runtime: &Path, attempt: AttemptId) -> PathBuf {
        runtime.join(format!("{}-{}", attempt.operation, attempt.attempt))
    }

    /// Sees that there is none yet. It is made with the first that goes into it.
    ///
    /// # Errors
    /// When what is there can't be removed.
    pub fn new(runtime: &Path, attempt: AttemptId) -> Result<Self, PrivateError> {
        let path = Self::path_of(runtime, attempt);
        remove(&path)?;
        Ok(Self(path))
    }

    /// Makes a directory in it, empty.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn directory(&self, name: &str) -> Result<PathBuf, PrivateError> {
        let path = self.0.join(name);
        remove(&path)?;
        private_directory(&path).map_err(|source| PrivateError { path: path.clone(), source })?;
        Ok(path)
    }
}

/// Removes a directory that may not be there.
fn remove(path: &Path) -> Result<(), PrivateError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PrivateError { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(path = %self.0.display(), %error, "opened secrets could not be removed");
        }
    }
}

/// Writes a file that nobody else can read and that must not exist yet.
///
/// # Errors
/// When it exists or can't be written.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PrivateError> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)
    };
    write().map_err(|source| PrivateError { path: path.to_owned(), source })
}

/// Makes a directory, and those above it, that nobody else can look into (0700).
///
/// # Errors
/// When it can't be made.
pub fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    // One that was there already keeps its mode otherwise.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_private_and_goes() {
        let runtime = tempfile::tempdir().unwrap();
        let attempt = AttemptId {
            operation: aegir_protocol::id::OperationId::generate(),
            attempt: aegir_protocol::id::Attempt::FIRST,
        };
        let whole = PrivateDirectory::path_of(runtime.path(), attempt);
        std::fs::create_dir_all(whole.join("old")).unwrap();
        let private = PrivateDirectory::new(runtime.path(), attempt).unwrap();
        assert!(!whole.exists());
        let path = private.directory("task-1").unwrap();
        write_private(&path.join("secret"), b"x").unwrap();
        assert!(write_private(&path.join("secret"), b"x").is_err());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&whole), mode(&path), mode(&path.join("secret"))), (0o700, 0o700, 0o600));
        assert_eq!(private.directory("task-1").unwrap(), path);
        assert!(!path.join("secret").exists(), "it is not empty");
        drop(private);
        assert!(!whole.exists());
    }
}
