//! The operator's file of trusted host keys, in OpenSSH's format, so that `ssh` can be tried with it by hand.

use std::io;
use std::path::Path;

/// A minion as it stands in a known hosts file: `address`, or `[address]:port` where the port is not 22.
#[must_use]
pub fn place(address: &str, port: u16) -> String {
    if port == 22 { address.to_owned() } else { format!("[{address}]:{port}") }
}

/// The lines that name a place; empty when there are none or no file.
pub(super) fn lines_of(path: &Path, address: &str, port: u16) -> io::Result<String> {
    let place = place(address, port);
    let lines = |text: String| {
        text.lines().filter(|line| names(line, &place)).map(|line| format!("{line}\n")).collect()
    };
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(lines(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Replaces what is known of a place by these keys, each `TYPE BASE64`.
pub fn trust(path: &Path, address: &str, port: u16, keys: &[String]) -> io::Result<()> {
    let place = place(address, port);
    let mut text = match std::fs::read_to_string(path) {
        Ok(text) => {
            text.lines().filter(|line| !names(line, &place)).map(|line| format!("{line}\n")).collect()
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    for key in keys {
        text.push_str(&format!("{place} {key}\n"));
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    aegir_service::atomic::write_file(path, text.as_bytes(), 0o644)
}

fn names(line: &str, place: &str) -> bool {
    let line = line.trim_start();
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    !line.starts_with('#') && first.split(',').any(|name| name.eq_ignore_ascii_case(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusting_replaces_what_was_known_of_that_place_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/known_hosts");
        assert_eq!(lines_of(&path, "web1", 22).unwrap(), "");
        trust(&path, "web1", 22, &["ssh-ed25519 AAAA".to_owned()]).unwrap();
        trust(&path, "web1", 2222, &["ssh-ed25519 BBBB".to_owned(), "ssh-rsa CCCC".to_owned()]).unwrap();
        trust(&path, "web1", 22, &["ssh-ed25519 DDDD".to_owned()]).unwrap();
        assert_eq!(lines_of(&path, "web1", 22).unwrap(), "web1 ssh-ed25519 DDDD\n");
        let other = lines_of(&path, "web1", 2222).unwrap();
        assert_eq!(other, "[web1]:2222 ssh-ed25519 BBBB\n[web1]:2222 ssh-rsa CCCC\n");
    }
}
