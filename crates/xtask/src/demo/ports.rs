//! The ports of a demo: six in a row on 127.0.0.1.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::bail;

/// How long ports may take to be free after what held them was ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who listens where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) relayd: u16,
    pub(crate) broker: u16,
    pub(crate) broker_distribution: u16,
    pub(crate) epmd: u16,
    pub(crate) sshd: u16,
    pub(crate) nginx: u16,
}

impl Ports {
    pub(crate) fn from_base(base: u16) -> Self {
        Self {
            relayd: base,
            broker: base + 1,
            broker_distribution: base + 2,
            epmd: base + 3,
            sshd: base + 4,
            nginx: base + 5,
        }
    }

    fn named(self) -> [(&'static str, u16); 6] {
        [
            ("relayd", self.relayd),
            ("the broker", self.broker),
            ("the broker's distribution", self.broker_distribution),
            ("epmd", self.epmd),
            ("sshd", self.sshd),
            ("nginx", self.nginx),
        ]
    }

    /// Sees to it that all are free.
    ///
    /// # Errors
    /// When one is not; the message says which, and what to do.
    pub(crate) fn check(self, wait: bool) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let taken: Vec<_> = self
                .named()
                .into_iter()
                .filter(|(_, port)| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_err())
                .map(|(name, port)| format!("{port} (for {name})"))
                .collect();
            if taken.is_empty() {
                return Ok(());
            }
            if !wait || Instant::now() > end {
                bail!(
                    "something listens already on 127.0.0.1, on port {}: stop it, or choose other ports with \
                     --port-base N",
                    taken.join(", ")
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = Ports::from_base(port.min(65_000)).check(false).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port-base"), "{error}");
    }
}
