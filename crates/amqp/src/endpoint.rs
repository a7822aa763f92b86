//! Everything that a connection needs, read from the files that the configuration names.

use std::path::Path;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{BrokerConfig, BrokerConfigError, parse, private, read};
use crate::tls;

/// The largest frame that we agree to, in bytes. lapin keeps two buffers of 32 frames for each connection: with
/// RabbitMQ's 128 KiB they were 16 MiB of a daemon's idle memory, with this they are 2. A larger message takes more
/// frames, which costs nothing that can be measured.
const FRAME_MAX: u32 = 16 * 1024;

/// What a connection needs. It holds the password and is never logged: it has no `Debug`.
pub(crate) struct Endpoint {
    pub(crate) uri: AMQPUri,
    pub(crate) tls: OwnedTLSConfig,
}

impl BrokerConfig {
    /// Reads what the configuration names, and says what is wrong with it. Does not connect.
    ///
    /// # Errors
    ///
    /// See [`BrokerConfigError`].
    pub fn check(&self) -> Result<(), BrokerConfigError> {
        self.target().map(drop)
    }

    /// Everything that a connection needs, read now.
    pub(crate) fn target(&self) -> Result<Endpoint, BrokerConfigError> {
        let mut uri = parse(&self.url)?;
        if self.heartbeat_seconds == 0 {
            return Err(BrokerConfigError::Heartbeat);
        }
        uri.query.heartbeat = Some(agreed(self.heartbeat_seconds));
        uri.query.frame_max = Some(FRAME_MAX);
        if let Some(username) = &self.username {
            uri.authority.userinfo.username.clone_from(username);
        }
        if let Some(password) = self.password()? {
            password.expose_secret().clone_into(&mut uri.authority.userinfo.password);
        }
        let tls = match uri.scheme {
            AMQPScheme::AMQPS => tls::settings(self)?,
            AMQPScheme::AMQP => OwnedTLSConfig::default(),
        };
        Ok(Endpoint { uri, tls })
    }

    fn password(&self) -> Result<Option<SecretString>, BrokerConfigError> {
        if let Some(path) = &self.password_file {
            private(path)?;
            return Ok(Some(first_line(&read(path)?)));
        }
        let credential = std::env::var_os("CREDENTIALS_DIRECTORY")
            .map(|directory| Path::new(&directory).join("broker-password"))
            .filter(|path| path.exists());
        Ok(credential.as_deref().map(read).transpose()?.as_deref().map(first_line))
    }
}

/// What is agreed with the broker, in seconds. lapin looks every half interval whether two have passed, so that it
/// finds a silent broker up to two and a half late; with this it is within two of what the config says.
fn agreed(heartbeat_seconds: u16) -> u16 {
    (heartbeat_seconds - heartbeat_seconds.div_ceil(5)).max(1)
}

fn first_line(text: &str) -> SecretString {
    text.lines().next().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_password_file_is_read_and_must_be_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, "s3cret\n").unwrap();
        let config = BrokerConfig { password_file: Some(path.clone()), ..BrokerConfig::default() };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(config.check(), Err(BrokerConfigError::OpenToAll(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(config.target().unwrap().uri.authority.userinfo.password, "s3cret");
    }

    #[test]
    fn a_certificate_and_its_key_come_together_and_the_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(directory.path().join(name));
        for name in ["ca", "certificate", "key"] {
            std::fs::write(directory.path().join(name), "PEM").unwrap();
        }
        std::fs::set_permissions(directory.path().join("key"), std::fs::Permissions::from_mode(0o644))
            .unwrap();
        let half = BrokerConfig {
            ca_file: path("ca"),
            certificate_file: path("certificate"),
            ..BrokerConfig::from_url("amqps://h")
        };
        assert!(matches!(half.check(), Err(BrokerConfigError::HalfAnIdentity)));
        let whole = BrokerConfig { key_file: path("key"), ..half };
        assert!(matches!(whole.check(), Err(BrokerConfigError::OpenToAll(_))));
        std::fs::set_permissions(directory.path().join("key"), std::fs::Permissions::from_mode(0o600))
            .unwrap();
        whole.check().unwrap();
        let nowhere = BrokerConfig { ca_file: path("nowhere"), ..whole };
        assert!(matches!(nowhere.check(), Err(BrokerConfigError::Read { .. })));
    }

    #[test]
    fn a_silent_broker_is_found_within_two_heartbeats() {
        for seconds in 2..=u16::MAX {
            let agreed = u32::from(agreed(seconds));
            assert!(agreed * 5 <= u32::from(seconds) * 4, "{seconds}: {agreed}");
        }
        assert_eq!(agreed(1), 1);
    }
}
