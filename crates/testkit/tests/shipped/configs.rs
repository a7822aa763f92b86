//! The example config files, as they are and with every key that they show.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use aegir_testkit::daemon::binary;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The file with the keys that it only shows, too, and with places that exist on this machine.
fn with_every_key(text: &str, place: &Path) -> String {
    let shown = |line: &str| {
        let text = line.strip_prefix("# ")?;
        let is_key = text
            .split_once(" = ")
            .is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
        (is_key || (text.starts_with('[') && text.ends_with(']'))).then(|| text.to_owned())
    };
    let lines: Vec<String> =
        text.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned())).collect();
    let repository = repository();
    lines
        .join("\n")
        .replace("/usr/share/aegir/roles", repository.join("roles").to_str().unwrap())
        .replace(
            "/usr/share/aegir-dispatcherd/ansible",
            repository.join("dispatcherd/ansible").to_str().unwrap(),
        )
        .replace("/etc/", &format!("{}/", place.display()))
        .replace("/var/lib/", &format!("{}/", place.display()))
        .replace("/run/", &format!("{}/run/", place.display()))
}

fn check(program: &str, example: &str) {
    let directory = tempfile::tempdir().unwrap();
    for path in ["aegir/broker-password", "aegir/broker-ca.pem", "aegir-dispatcherd/.ssh/id_ed25519"] {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = fs::read_to_string(repository().join(example)).unwrap();
    let config = directory.path().join("config.toml");
    let all = with_every_key(&text, directory.path());
    assert!(all.contains("\nusername = "), "the examples were not uncommented: {all}");
    fs::write(&config, &all).unwrap();
    let output = Command::new(binary(program).unwrap())
        .args(["check-config", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} does not take {example}:\n{said}\n{all}");
}

#[test]
fn relayd_takes_its_example() {
    check("relayd", "relayd/packaging/relayd.toml");
}

#[test]
fn dispatcherd_takes_its_example() {
    check("dispatcherd", "dispatcherd/packaging/dispatcherd.toml");
}
