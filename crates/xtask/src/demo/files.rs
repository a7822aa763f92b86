//! What the tutorial uses: files in the demo's directory that save typing.

use std::fs;

use aegir_testkit::daemon::binary;
use anyhow::Context as _;
use serde_json::{Value, json};

use crate::demo::cast::Cast;

/// Writes `environment` (for a shell to read), `hosts.json` and `site.json` (for `aegir run`).
///
/// # Errors
/// When one of them can't be written.
pub(crate) fn write(cast: &Cast) -> anyhow::Result<()> {
    let aegir = binary("aegir")?;
    let programs = aegir.parent().context("aegir lies nowhere")?;
    let environment = format!(
        "export AEGIR_URL={}\nexport AEGIR_TOKEN_FILE='{}'\nexport PATH='{}':\"$PATH\"\nexport DEMO_NGINX_PORT={}\n",
        cast.relayd.url(),
        cast.relayd.token_file().display(),
        programs.display(),
        cast.nginx.port()
    );
    put(cast, "environment", environment.as_bytes())?;
    let host = json!({
        "name": "web1", "address": "127.0.0.1", "port": cast.ports.sshd, "user": cast.minion.user,
        "host_keys": [cast.minion.host_key], "services": {"nginx": {}},
    });
    put(cast, "hosts.json", &pretty(&json!([host])))?;
    let variables = json!({
        "source": cast.source(), "root": cast.directory.join("sites"), "mode": "user",
        "server_directory": cast.nginx.directory(), "listen_addresses": ["127.0.0.1"],
        "listen_port": cast.nginx.port(),
    });
    put(cast, "site.json", &pretty(&json!({ "site": variables })))
}

fn put(cast: &Cast, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = cast.directory.join(name);
    fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}
