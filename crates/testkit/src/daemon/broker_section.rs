//! The `[broker]` section of a daemon's config file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Context as _;

/// A text as TOML writes it. A JSON string is a TOML basic string.
pub(super) fn quoted(text: impl AsRef<Path>) -> String {
    serde_json::Value::from(text.as_ref().to_string_lossy()).to_string()
}

/// The section for a URL, with further lines. Credentials in it move to where daemons expect them: the password to a file of its
/// own in `directory`.
pub(super) fn broker_section(url: &str, settings: &str, directory: &Path) -> anyhow::Result<String> {
    let credentials = url.split_once("://").and_then(|(scheme, rest)| {
        let (credentials, host) = rest.split_once('@')?;
        let (user, password) = credentials.split_once(':')?;
        Some((format!("{scheme}://{host}"), user, password))
    });
    let Some((url, user, password)) = credentials else {
        return Ok(format!("[broker]\nurl = {}\n{settings}", quoted(url)));
    };
    let file = directory.join("broker-password");
    fs::write(&file, password).context("cannot write the broker's password")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).context("cannot protect it")?;
    Ok(format!(
        "[broker]\nurl = {}\nusername = {}\npassword_file = {}\n{settings}",
        quoted(url),
        quoted(user),
        quoted(file)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url() {
        let directory = tempfile::tempdir().unwrap();
        let section = broker_section(
            "amqp://guest:secret@127.0.0.1:1/%2f",
            "heartbeat_seconds = 1\n",
            directory.path(),
        )
        .unwrap();
        assert!(section.starts_with("[broker]\nurl = \"amqp://127.0.0.1:1/%2f\"\nusername = \"guest\"\n"));
        assert_eq!(fs::read_to_string(directory.path().join("broker-password")).unwrap(), "secret");
        assert!(section.ends_with("\nheartbeat_seconds = 1\n"));
        assert_eq!(
            broker_section("amqp://h/", "", directory.path()).unwrap(),
            "[broker]\nurl = \"amqp://h/\"\n"
        );
    }
}
