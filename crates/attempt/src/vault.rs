//! Passwords of Ansible Vault: files that dispatcherd's config names by vault id.
//!
//! Ansible is told where they are; what is in them stands in no argument, environment or file of ours.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aegir_service::secret::{self, SecretError};

/// Why a password can't be used.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The name has a meaning on a command line.
    #[error(
        "vault_passwords.{0}: a vault id has letters, digits, `_`, `-` and `.`, and begins with one of the first three"
    )]
    Id(String),
    /// The file.
    #[error("vault_passwords.{id}: {source}")]
    File { id: String, source: SecretError },
}

/// Where a password is that the config names: a word without a slash is one of systemd's credentials if there is one of that
/// name; another path starts at the config's directory.
pub fn password_path(config: &Path, path: &Path) -> PathBuf {
    let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
        .filter(|_| path.parent() == Some(Path::new("")))
        .map(|directory| Path::new(&directory).join(path));
    credential.filter(|path| path.is_file()).unwrap_or_else(|| aegir_service::config::beside(config, path))
}

/// What is wrong with them, in sentences.
pub fn check(passwords: &BTreeMap<String, PathBuf>) -> Vec<String> {
    passwords.iter().filter_map(|(id, path)| one(id, path).err()).map(|error| error.to_string()).collect()
}

/// What tells Ansible of them.
///
/// # Errors
/// When one of them can't be used: Ansible would refuse to start, and not say which setting is meant.
pub fn arguments(passwords: &BTreeMap<String, PathBuf>) -> Result<Vec<OsString>, VaultError> {
    let mut arguments = Vec::new();
    for (id, path) in passwords {
        one(id, path)?;
        let mut value = OsString::from(format!("{id}@"));
        value.push(path);
        arguments.extend([OsString::from("--vault-id"), value]);
    }
    Ok(arguments)
}

fn one(id: &str, path: &Path) -> Result<(), VaultError> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !id.starts_with(word) || !id.chars().all(|c| word(c) || c == '-' || c == '.') {
        return Err(VaultError::Id(id.to_owned()));
    }
    let program = std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o100 != 0);
    if program {
        // Ansible runs it, and takes what it prints.
        return Ok(());
    }
    secret::file(path).map(drop).map_err(|source| VaultError::File { id: id.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_file_that_others_can_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("prod");
        let of = |id: &str| BTreeMap::from([(id.to_owned(), path.clone())]);
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        assert!(check(&of("prod")).join(" ").starts_with("vault_passwords.prod: can't read the secret in"));
        std::fs::write(&path, "correct horse\n").unwrap();
        mode(0o644);
        assert!(check(&of("prod")).join(" ").contains("open to others"));
        mode(0o600);
        assert_eq!(check(&of("prod")), Vec::<String>::new());
        let shown = arguments(&of("prod")).unwrap();
        assert_eq!(shown, [OsString::from("--vault-id"), format!("prod@{}", path.display()).into()]);
        for id in ["a@b", "-x", "", "a b", "a,b"] {
            assert!(matches!(arguments(&of(id)), Err(VaultError::Id(_))), "{id}");
        }
    }
}
