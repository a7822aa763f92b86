//! What it takes to log in on a minion.

use std::io;
use std::path::{Path, PathBuf};

use aegir_attempt::plan::RunnerSettings;
use aegir_protocol::name::{HostName, UserName};
use aegir_protocol::operation::{Host, HostKey};
use sha2::{Digest as _, Sha256};

use super::known_hosts;

/// Where a minion is, who logs in, and which host keys are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What the frontend calls it.
    pub name: HostName,
    /// A host name or an IP address.
    pub address: String,
    /// The port of its sshd.
    pub port: u16,
    /// Who logs in.
    pub user: UserName,
    /// The private key; ssh's own defaults when absent.
    pub identity_file: Option<PathBuf>,
    /// The host keys that are believed.
    pub known_hosts: KnownHosts,
    /// How long a connection may take to come up, in seconds.
    pub connect_timeout_seconds: u64,
}

/// Which host keys are believed. There is no third way: a key that is in neither is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnownHosts {
    /// Those that came with the Operation, and no others.
    Given(Vec<HostKey>),
    /// Those that an operator has trusted.
    File(PathBuf),
}

impl Login {
    /// How this host of an Operation is reached.
    #[must_use]
    pub fn of(host: &Host, settings: &RunnerSettings) -> Self {
        let known_hosts = if host.host_keys.is_empty() {
            KnownHosts::File(settings.known_hosts_file.clone())
        } else {
            KnownHosts::Given(host.host_keys.clone())
        };
        Self {
            name: host.name.clone(),
            address: host.ssh_address().to_owned(),
            port: host.ssh_port(),
            user: host.user.clone().unwrap_or_else(|| settings.ssh_user.clone()),
            identity_file: settings.ssh_identity_file.clone(),
            known_hosts,
            connect_timeout_seconds: settings.connect_timeout_seconds.max(1),
        }
    }

    /// For people: `web1 (deploy@192.0.2.1, port 22)`.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{} ({}@{}, port {})", self.name, self.user, self.address, self.port)
    }

    /// The lines of a known hosts file that name this minion's address and port.
    ///
    /// # Errors
    /// When the operator's file is there and can't be read.
    pub fn known_host_lines(&self) -> io::Result<String> {
        match &self.known_hosts {
            KnownHosts::Given(keys) => {
                let place = known_hosts::place(&self.address, self.port);
                Ok(keys.iter().map(|key| format!("{place} {}\n", key.as_str())).collect())
            }
            KnownHosts::File(path) => known_hosts::lines_of(path, &self.address, self.port),
        }
    }

    /// Sixteen hex digits that stand for everything that tells one connection from another.
    #[must_use]
    pub(super) fn digest(&self, known_host_lines: &str) -> String {
        let key = self.identity_file.as_deref().map(Path::as_os_str).unwrap_or_default();
        let mut digest = Sha256::new();
        for part in [
            self.address.as_bytes(),
            self.port.to_string().as_bytes(),
            self.user.as_str().as_bytes(),
            key.as_encoded_bytes(),
            known_host_lines.as_bytes(),
        ] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        hex::encode(&digest.finalize()[..8])
    }
}
