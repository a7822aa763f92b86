//! Who may use the API: whoever shows the token, or a session that began with a one-time code.
//!
//! The token is a file that only relayd's user can read. Codes and sessions are random and stored as hashes, so
//! that who reads the store can't sign in.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

/// How long a one-time code works.
pub const CODE_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// How long a session lasts.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The token's file can't be read or made.
#[derive(Debug, thiserror::Error)]
#[error("can't use the API token {path}: {error}; remove the file to have a new one made")]
pub struct TokenError {
    path: PathBuf,
    #[source]
    error: io::Error,
}

/// A random text that can't be guessed: 244 bits.
#[must_use]
pub fn random() -> String {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(Uuid::new_v4().as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What of a code or a session's id is stored.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The API's bearer token.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// The token in this file; made, for its owner only, if there is none.
    ///
    /// # Errors
    /// When the file can't be read or made, or holds less than 32 characters.
    pub fn load_or_make(path: &Path) -> Result<Self, TokenError> {
        let wrap = |error| TokenError { path: path.to_owned(), error };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(wrap)?,
            Err(error) => return Err(wrap(error)),
        };
        let text = text.trim();
        if text.len() < 32 {
            let error = io::Error::new(io::ErrorKind::InvalidData, "it is shorter than 32 characters");
            return Err(wrap(error));
        }
        Ok(Self(hash(text)))
    }

    /// Whether this is the token. Hashes are compared, so the time that it takes tells nothing of the token.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        self.0.ct_eq(&hash(shown)).into()
    }
}

fn make(path: &Path) -> io::Result<String> {
    let token = random();
    aegir_service::atomic::write_file(path, format!("{token}\n").as_bytes(), 0o600)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api-token");
        let first = Token::load_or_make(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(first.is(text.trim()));
        assert!(!first.is("") && !first.is(&random()));
        assert!(Token::load_or_make(&path).unwrap().is(text.trim()));
        std::fs::write(&path, "short\n").unwrap();
        assert!(Token::load_or_make(&path).is_err());
    }
}
