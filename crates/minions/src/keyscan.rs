//! Asking a minion for its host keys.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::error::MinionError;
use super::login::Login;

/// A host key that a minion offers. Whether it is the minion's is for a person to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedKey {
    /// `TYPE BASE64`.
    pub key: String,
    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
}

impl OfferedKey {
    fn read(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (_place, kind, key) = (words.next()?, words.next()?, words.next()?);
        let bytes = base64::engine::general_purpose::STANDARD.decode(key).ok()?;
        let digest = base64::engine::general_purpose::STANDARD_NO_PAD.encode(Sha256::digest(bytes));
        Some(Self { key: format!("{kind} {key}"), fingerprint: format!("SHA256:{digest}") })
    }

    /// `ssh-ed25519`, `ssh-rsa`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        self.key.split(' ').next().unwrap_or_default()
    }
}

/// The keys that the minion offers now.
///
/// # Errors
/// When it does not answer, or `ssh-keyscan` is not there.
pub async fn offered_keys(login: &Login) -> Result<Vec<OfferedKey>, MinionError> {
    let seconds = login.connect_timeout_seconds;
    let mut command = Command::new("ssh-keyscan");
    command.env_clear().envs(aegir_service::environment::base()).kill_on_drop(true);
    // A connection for each type, none of which logs in: sshd shuts out for a while whoever makes many of those, so
    // not for types that no host has.
    command.args(["-t", "ed25519,ecdsa,rsa"]);
    command.args(["-T", &seconds.to_string(), "-p", &login.port.to_string(), "--", &login.address]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // It asks for one type of key after the other.
    let limit = Duration::from_secs(seconds * 3 + 5);
    let output = match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(MinionError::ProgramMissing(
                "can't find the program \"ssh-keyscan\": install openssh-client beside dispatcherd"
                    .to_owned(),
            ));
        }
        Ok(Err(error)) => return Err(MinionError::Here(format!("can't start ssh-keyscan: {error}"))),
        Err(_) => return Err(MinionError::from_ssh(login, "no answer to ssh-keyscan")),
    };
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut keys: Vec<_> = printed.lines().filter_map(OfferedKey::read).collect();
    keys.sort_by(|one, other| one.key.cmp(&other.key));
    keys.dedup();
    if keys.is_empty() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(MinionError::from_ssh(login, &stderr));
    }
    Ok(keys)
}
