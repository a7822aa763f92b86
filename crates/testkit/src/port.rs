//! Free TCP ports for servers under test.
//!
//! Ports are taken from outside the range that the kernel gives to outgoing connections (32768 to 60999 on
//! Linux), so that no client socket can sit on one between the choice and the server's `bind`. Test
//! processes that run at the same time keep out of each other's way by a locked file for each port; the lock
//! is let go by the kernel when the process that holds it ends, however it ends.

use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// The locks on the ports that this process was given. They stay until it ends.
static HELD: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port on 127.0.0.1 that nothing listens on and that no other test process will be given while this
/// process lives.
///
/// # Errors
///
/// If the directory for the locks cannot be made, or every port of the range is taken.
pub fn free_port() -> anyhow::Result<u16> {
    let directory = lock_directory();
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let start = uuid::Uuid::new_v4().as_u128() % u128::from(COUNT);
    for step in 0..u128::from(COUNT) {
        let offset = u16::try_from((start + step) % u128::from(COUNT)).unwrap_or_default();
        let port = FIRST + offset;
        let path = directory.join(port.to_string());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            HELD.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(file);
            return Ok(port);
        }
    }
    bail!("no free port between {FIRST} and {}: what is listening on all of them?", FIRST + COUNT - 1)
}

fn lock_directory() -> PathBuf {
    std::env::temp_dir().join("aegir-testkit-ports")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::free_port;

    #[test]
    fn ports_are_distinct_and_outside_the_ephemeral_range() {
        let ports: HashSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| *port < 32_768), "{ports:?}");
    }
}
