//! A node's files.

use std::path::Path;

use anyhow::Context as _;

use crate::authority::Identity;

/// Who the node is to those who come over TLS.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) authority: String,
    pub(super) identity: Identity,
    /// Whether they must show a certificate of the same authority.
    pub(super) mutual: bool,
}

impl Tls {
    /// Writes the files, and gives the settings that name them.
    pub(super) fn configure(&self, directory: &Path, port: u16) -> anyhow::Result<String> {
        let files = [
            ("ca.pem", &self.authority),
            ("certificate.pem", &self.identity.certificate),
            ("key.pem", &self.identity.key),
        ];
        for (name, text) in files {
            std::fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let at = directory.display();
        Ok(format!(
            "listeners.ssl.1 = 127.0.0.1:{port}\n\
             ssl_options.cacertfile = {at}/ca.pem\n\
             ssl_options.certfile = {at}/certificate.pem\n\
             ssl_options.keyfile = {at}/key.pem\n\
             ssl_options.verify = verify_peer\n\
             ssl_options.fail_if_no_peer_cert = {}\n",
            self.mutual
        ))
    }
}

/// Writes the config files, `settings` and `advanced` included.
pub(super) fn configure(
    directory: &Path,
    amqp_port: u16,
    settings: &str,
    advanced: &str,
) -> anyhow::Result<()> {
    for name in ["home", "data", "logs"] {
        std::fs::create_dir_all(directory.join(name)).context("cannot make the broker's directories")?;
    }
    let configuration = format!(
        "listeners.tcp.1 = 127.0.0.1:{amqp_port}\n\
         log.console = true\n\
         log.console.level = info\n\
         log.file = false\n\
         disk_free_limit.absolute = 1MB\n\
         raft.wal_max_size_bytes = 67108864\n\
         {settings}"
    );
    let files = [
        ("rabbitmq.conf", configuration.as_str()),
        ("advanced.config", advanced),
        ("enabled_plugins", "[].\n"),
    ];
    for (name, text) in files {
        std::fs::write(directory.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    Ok(())
}
