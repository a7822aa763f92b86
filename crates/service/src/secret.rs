//! Reading a secret: from systemd's credentials, or from a file that only its reader may read.
//!
//! A credential (`LoadCredential=`, `LoadCredentialEncrypted=`) lies in `$CREDENTIALS_DIRECTORY`, which
//! systemd protects. Any other file is looked at first: one that everybody may read, or that others than its
//! owner may write, is no secret.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

/// No secret is longer than this many bytes.
const LONGEST: u64 = 64 * 1024;
/// Read, write or execute for all, and write for the group.
const TOO_OPEN: u32 = 0o027;

/// Why a secret can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("can't read the secret in {path}: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    /// Too many may read or write the file.
    #[error(
        "the secret in {path} is open to others (mode {mode:04o}): run `chmod 0600 {path}`, and change it"
    )]
    TooOpen {
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is nothing in the file.
    #[error("the secret in {path} is empty")]
    Empty { path: PathBuf },
    /// The file is far too long, or not text.
    #[error("the secret in {path} is not a text of at most {LONGEST} bytes")]
    NotText { path: PathBuf },
}

/// Reads a secret by the name of a credential or the path of a file. A word without a slash is a credential's
/// name if there is such a credential; everything else is a path.
///
/// # Errors
/// When it can't be read, or is not kept secret.
pub fn read(reference: &Path) -> Result<SecretString, SecretError> {
    read_from(credentials_directory().as_deref(), reference)
}

/// Reads a credential; `None` when there is none of that name.
///
/// # Errors
/// When it is there and can't be read.
pub fn credential(name: &str) -> Result<Option<SecretString>, SecretError> {
    credential_in(credentials_directory().as_deref(), OsStr::new(name))
}

/// Reads a secret from a file. One newline at its end is not part of it.
///
/// # Errors
/// When it can't be read, or is not kept secret.
pub fn file(path: &Path) -> Result<SecretString, SecretError> {
    let file = open(path)?;
    let metadata =
        file.metadata().map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & TOO_OPEN != 0 {
        return Err(SecretError::TooOpen { path: path.to_owned(), mode });
    }
    content(file, path)
}

fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

fn read_from(credentials: Option<&Path>, reference: &Path) -> Result<SecretString, SecretError> {
    if reference.parent() == Some(Path::new(""))
        && let Some(secret) = credential_in(credentials, reference.as_os_str())?
    {
        return Ok(secret);
    }
    file(reference)
}

fn credential_in(directory: Option<&Path>, name: &OsStr) -> Result<Option<SecretString>, SecretError> {
    let Some(directory) = directory else { return Ok(None) };
    let path = directory.join(name);
    if !path.is_file() {
        return Ok(None);
    }
    content(open(&path)?, &path).map(Some)
}

fn open(path: &Path) -> Result<File, SecretError> {
    File::open(path).map_err(|source| SecretError::Unreadable { path: path.to_owned(), source })
}

fn content(file: File, path: &Path) -> Result<SecretString, SecretError> {
    let mut text = String::new();
    match file.take(LONGEST + 1).read_to_string(&mut text) {
        Ok(read) if read as u64 > LONGEST => return Err(SecretError::NotText { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(SecretError::NotText { path: path.to_owned() });
        }
        Err(source) => return Err(SecretError::Unreadable { path: path.to_owned(), source }),
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        return Err(SecretError::Empty { path: path.to_owned() });
    }
    Ok(SecretString::from(secret))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use secrecy::ExposeSecret as _;

    use super::*;

    fn secret_file(directory: &Path, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = directory.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn modes_decide_who_shares_the_secret() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, kept) in
            [(0o600, true), (0o400, true), (0o640, true), (0o644, false), (0o660, false), (0o601, false)]
        {
            let path = secret_file(directory.path(), "secret", b"hunter2\n", mode);
            match file(&path) {
                Ok(secret) => assert!(kept && secret.expose_secret() == "hunter2", "{mode:o}"),
                Err(SecretError::TooOpen { mode: said, .. }) => assert!(!kept && said == mode, "{mode:o}"),
                Err(error) => panic!("{mode:o}: {error}"),
            }
        }
    }

    #[test]
    fn the_error_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = secret_file(directory.path(), "secret", b"hunter2", 0o644);
        let path = path.display();
        let message = file(Path::new(&path.to_string())).unwrap_err().to_string();
        assert_eq!(
            message,
            format!(
                "the secret in {path} is open to others (mode 0644): run `chmod 0600 {path}`, and change it"
            )
        );
    }

    #[test]
    fn credentials_come_first_and_only_for_bare_names() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = directory.path().join("credentials");
        fs::create_dir(&credentials).unwrap();
        secret_file(&credentials, "broker-password", b"from systemd", 0o444);
        let path = secret_file(directory.path(), "broker-password", b"from a file", 0o600);
        let by_name = read_from(Some(&credentials), Path::new("broker-password")).unwrap();
        assert_eq!(by_name.expose_secret(), "from systemd");
        let by_path = read_from(Some(&credentials), &path).unwrap();
        assert_eq!(by_path.expose_secret(), "from a file");
        assert!(credential_in(Some(&credentials), OsStr::new("other")).unwrap().is_none());
        assert!(credential_in(None, OsStr::new("broker-password")).unwrap().is_none());
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |content: &[u8]| file(&secret_file(directory.path(), "x", content, 0o600)).unwrap_err();
        assert!(matches!(refused(b"\n"), SecretError::Empty { .. }));
        assert!(matches!(refused(b"\xff\xfe"), SecretError::NotText { .. }));
        assert!(matches!(refused(&vec![b'x'; 70_000]), SecretError::NotText { .. }));
        let missing = file(Path::new("/nowhere/secret")).unwrap_err();
        assert!(matches!(missing, SecretError::Unreadable { .. }));
    }
}
