//! The backend's key: secrets are sealed for its public half and opened by runners with its private half.

use std::io;
use std::path::{Path, PathBuf};

use age::secrecy::ExposeSecret as _;

/// The private key's file in the state directory.
pub const FILE_NAME: &str = "age-identity";

/// Why there is no usable key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error("could not {what} the backend's key {}: {error}", path.display())]
    File {
        /// Read, or write.
        what: &'static str,
        /// The file.
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{} is not an age identity ({error}): restore it from a backup; without it, secrets that were \
         sealed for this backend stay closed", path.display()
    )]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What age says.
        error: &'static str,
    },
}

/// The public half of the key in a state directory; the key is made when there is none.
///
/// # Errors
/// When the file can't be read, made or understood.
pub fn recipient(state: &Path) -> Result<String, IdentityError> {
    let path = state.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(IdentityError::File { what: "read", path, error }),
    }
}

/// The public half, for looking only: `None` when no key was made yet.
///
/// # Errors
/// When the file can't be read or understood.
pub fn existing_recipient(state: &Path) -> Result<Option<String>, IdentityError> {
    let path = state.join(FILE_NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => parse(&path, &text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IdentityError::File { what: "read", path, error }),
    }
}

fn parse(path: &Path, text: &str) -> Result<String, IdentityError> {
    let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    key.unwrap_or_default()
        .parse::<age::x25519::Identity>()
        .map(|identity| identity.to_public().to_string())
        .map_err(|error| IdentityError::Invalid { path: path.to_owned(), error })
}

fn make(path: PathBuf) -> Result<String, IdentityError> {
    let identity = age::x25519::Identity::generate();
    let text = format!("{}\n", identity.to_string().expose_secret());
    aegir_service::atomic::write_file(&path, text.as_bytes(), 0o600)
        .map_err(|error| IdentityError::File { what: "write", path, error })?;
    Ok(identity.to_public().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_is_private() {
        let state = tempfile::tempdir().unwrap();
        assert_eq!(existing_recipient(state.path()).unwrap(), None);
        let first = recipient(state.path()).unwrap();
        assert!(first.starts_with("age1"), "{first}");
        assert_eq!(recipient(state.path()).unwrap(), first);
        let mode = std::fs::metadata(state.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join(FILE_NAME), "nonsense").unwrap();
        assert!(matches!(recipient(state.path()), Err(IdentityError::Invalid { .. })));
        assert_eq!(std::fs::read_to_string(state.path().join(FILE_NAME)).unwrap(), "nonsense");
    }
}
