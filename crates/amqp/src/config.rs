//! Where the broker is, and the credentials for it.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lapin::uri::{AMQPScheme, AMQPUri};
use serde::Deserialize;

/// The `[broker]` section of a daemon's configuration.
///
/// The password is read again for every connection, so that a new one needs no restart. It comes from
/// `password_file`, else from the credential `broker-password` (systemd's `LoadCredential=`), else from the URL,
/// else it is `guest`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// `amqp://HOST:PORT/VHOST` or `amqps://…`; the virtual host `/` is written `%2f`.
    pub url: String,
    /// The user to log in as; the default is the URL's, or `guest`.
    pub username: Option<String>,
    /// A file with the password. It must not be readable by everybody.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the certificates to trust, for `amqps`; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the certificate by which the broker knows us, if it asks for one.
    pub certificate_file: Option<PathBuf>,
    /// A PEM file with that certificate's key. It must not be readable by everybody.
    pub key_file: Option<PathBuf>,
    /// How often both sides show that they are alive, in seconds. A broker that is silent for twice as long is
    /// given up.
    pub heartbeat_seconds: u16,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            url: "amqp://127.0.0.1:5672/%2f".to_owned(),
            username: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
            heartbeat_seconds: 10,
        }
    }
}

impl fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold a password.
        f.debug_struct("Config")
            .field("address", &self.address())
            .field("username", &self.username)
            .field("password_file", &self.password_file)
            .field("ca_file", &self.ca_file)
            .field("certificate_file", &self.certificate_file)
            .field("key_file", &self.key_file)
            .field("heartbeat_seconds", &self.heartbeat_seconds)
            .finish()
    }
}

/// Why the broker's configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerConfigError {
    /// The URL is none that we can use. The URL itself is not shown: it may hold a password.
    #[error("broker.url is not usable: {0}; amqp://HOST:PORT/VHOST is expected, with %2f for the vhost /")]
    Url(String),
    /// A file cannot be read.
    #[error("cannot read {}: check that it exists and that this user may read it", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A file with a secret is open to everybody.
    #[error("{} can be read by everybody: chmod o= it, and change the secret in it", .0.display())]
    OpenToAll(PathBuf),
    /// A certificate without its key, or the other way round.
    #[error("broker.certificate_file and broker.key_file belong together: set both, or none")]
    HalfAnIdentity,
    /// Without heartbeats a dead broker would never be noticed.
    #[error("broker.heartbeat_seconds must be at least 1")]
    Heartbeat,
}

impl BrokerConfig {
    /// A configuration with this URL and defaults for the rest.
    #[must_use]
    pub fn from_url(url: &str) -> Self {
        Self { url: url.to_owned(), ..Self::default() }
    }

    /// Where the broker is, without credentials, for logs.
    #[must_use]
    pub fn address(&self) -> String {
        match parse(&self.url) {
            Ok(uri) => {
                let scheme = if uri.scheme == AMQPScheme::AMQPS { "amqps" } else { "amqp" };
                let vhost = uri.vhost.replace('/', "%2f");
                let host = &uri.authority.host;
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                format!("{scheme}://{host}:{}/{vhost}", uri.authority.port)
            }
            Err(_) => "(broker.url is not usable)".to_owned(),
        }
    }
}

/// Refuses a file that everybody may read.
pub(crate) fn private(path: &Path) -> Result<(), BrokerConfigError> {
    let metadata = std::fs::metadata(path)
        .map_err(|source| BrokerConfigError::Read { path: path.to_owned(), source })?;
    if metadata.permissions().mode() & 0o004 != 0 {
        return Err(BrokerConfigError::OpenToAll(path.to_owned()));
    }
    Ok(())
}

pub(crate) fn read(path: &Path) -> Result<String, BrokerConfigError> {
    std::fs::read_to_string(path).map_err(|source| BrokerConfigError::Read { path: path.to_owned(), source })
}

pub(crate) fn parse(url: &str) -> Result<AMQPUri, BrokerConfigError> {
    let mut uri: AMQPUri = url.parse().map_err(|reason: String| {
        // The reason can quote the URL.
        BrokerConfigError::Url(if reason.contains(url) { "it is no URL".to_owned() } else { reason })
    })?;
    // The parser forgets an IPv6 address and falls back to its default host.
    let authority = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if let Some((address, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        address.clone_into(&mut uri.authority.host);
    } else if host.is_empty() || host.starts_with(':') {
        return Err(BrokerConfigError::Url("it names no host".to_owned()));
    }
    if uri.vhost.len() > 255 {
        return Err(BrokerConfigError::Url("the vhost is longer than 255 bytes".to_owned()));
    }
    Ok(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_reach_the_default_virtual_host() {
        let uri = BrokerConfig::default().target().unwrap().uri;
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("127.0.0.1", 5672));
        assert_eq!(uri.vhost, "/");
        assert_eq!(uri.query.heartbeat, Some(8));
    }

    #[test]
    fn an_ipv6_address_is_not_forgotten() {
        let config = BrokerConfig::from_url("amqp://me:pw@[2001:db8::1]:5673/aegir");
        let uri = config.target().unwrap().uri;
        assert_eq!((uri.authority.host.as_str(), uri.authority.port), ("2001:db8::1", 5673));
        assert_eq!(config.address(), "amqp://[2001:db8::1]:5673/aegir");
    }

    #[test]
    fn no_password_shows_in_what_can_be_logged() {
        for url in
            ["amqp://me:hunter22@host/%2f", "hunter22", "amqp://me:hunter22@:5672", "x://me:hunter22@h"]
        {
            let config = BrokerConfig::from_url(url);
            let error = config.target().err().map(|error| error.to_string()).unwrap_or_default();
            let shown = format!("{config:?} {} {error}", config.address());
            assert!(!shown.contains("hunter22"), "{shown}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<BrokerConfig>("url = 'amqp://h/'\nhartbeat_seconds = 3\n").is_err());
        assert!(toml::from_str::<BrokerConfig>("username = 'u'\n").is_ok());
    }
}
