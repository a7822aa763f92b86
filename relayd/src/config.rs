//! relayd's config file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use aegir_protocol::name::{BackendName, FrontendName};
use aegir_service::config::{ConfigError, beside, load};
use aegir_service::directory::from_environment;
use serde::Deserialize;

/// The port of the API unless the config says otherwise.
const PORT: u16 = 7180;
/// How many connections a listener has at once unless the config says otherwise. A follower of an Operation takes one.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).expect("it is not 0");

/// What `relayd.toml` holds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The frontend that this relayd works for: a part of queue names.
    pub frontend: FrontendName,
    /// Who carries out what names no backend.
    pub default_backend: BackendName,
    /// Where the store and the token are: `$STATE_DIRECTORY`, or `/var/lib/aegir-relayd`, when absent.
    pub state_directory: Option<PathBuf>,
    /// How long after the end of its lease an attempt is given up, in seconds: what its runner may need to stop,
    /// and what two machines' clocks may differ by over a lease.
    pub lease_margin_seconds: u64,
    /// The API and the page.
    pub http: Http,
    /// The way to RabbitMQ.
    pub broker: aegir_amqp::BrokerConfig,
}

/// Where the API and the page are served.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The TCP address.
    pub listen: SocketAddr,
    /// A unix socket besides.
    pub socket: Option<PathBuf>,
    /// How many connections each of the two has at once; further ones wait until one ends.
    pub max_connections: NonZeroUsize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), PORT),
            socket: None,
            max_connections: MAX_CONNECTIONS,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            frontend: "main".parse().expect("`main` is a name"),
            default_backend: "main".parse().expect("`main` is a name"),
            state_directory: None,
            lease_margin_seconds: 60,
            http: Http::default(),
            broker: aegir_amqp::BrokerConfig::default(),
        }
    }
}

impl Config {
    /// Reads a config file. Relative paths in it start at its own directory.
    ///
    /// # Errors
    /// When it can't be read, has an unknown key, or names a file that can't be used.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = load(path)?;
        let files = [
            &mut config.state_directory,
            &mut config.http.socket,
            &mut config.broker.password_file,
            &mut config.broker.ca_file,
            &mut config.broker.certificate_file,
            &mut config.broker.key_file,
        ];
        for file in files.into_iter().flatten() {
            *file = beside(path, file);
        }
        config.broker.check().map_err(|error| ConfigError::unusable(path, "broker", error.to_string()))?;
        Ok(config)
    }

    /// Where the store and the token are.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.state_directory
            .clone()
            .unwrap_or_else(|| from_environment("STATE_DIRECTORY", "/var/lib/aegir-relayd"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relayd.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path)
    }

    #[test]
    fn an_empty_file_has_all_it_takes() {
        let config = read("").unwrap();
        assert_eq!(config.frontend.as_str(), "main");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:7180");
    }

    #[test]
    fn a_misspelt_key_and_a_bad_name_are_errors() {
        for text in [
            "frontent = 'x'",
            "frontend = 'a/b'",
            "[http]\nlisten = 'nowhere'",
            "[http]\nmax_connections = 0",
            "[broker]\nurl = 'x'",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
