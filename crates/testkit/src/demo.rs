//! What `cargo xtask demo` leaves in its directory for a reader to type commands with. The demo's own deploy and the
//! tests of the tutorials use the same files, so that none of the three can be wrong alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::daemon::{Relayd, binary};
use crate::minion::TestMinion;
use crate::nginx::Nginx;

/// The site that is deployed.
pub const SITE: &str = "example.test";

/// What a shell reads to find relayd and `aegir`.
const ENVIRONMENT: &str = "environment";
/// The minion, for `--hosts-file`.
const HOSTS: &str = "hosts.json";
/// The site's variables, for `--vars-file`.
const VARIABLES: &str = "site.json";

/// The minion as a request names it, with the web server that it offers.
#[must_use]
pub fn host(minion: &TestMinion) -> Value {
    json!({
        "name": "web1", "address": "127.0.0.1", "port": minion.port, "user": minion.user,
        "host_keys": [minion.host_key], "services": {"nginx": {}},
    })
}

/// The variables of `static_site` that deploy `source` below `root`, to be served by the minion's nginx.
#[must_use]
pub fn site_variables(source: &Path, root: &Path, nginx: &Nginx) -> Value {
    json!({ "site": {
        "source": source, "root": root, "mode": "user", "server_directory": nginx.directory(),
        "listen_addresses": ["127.0.0.1"], "listen_port": nginx.port(),
    } })
}

/// Writes the files into the demo's directory.
///
/// # Errors
///
/// If one of them can't be written.
pub fn write(
    directory: &Path,
    relayd: &Relayd,
    nginx: &Nginx,
    host: &Value,
    variables: &Value,
) -> anyhow::Result<()> {
    let aegir = binary("aegir")?;
    let programs = aegir.parent().context("aegir has no directory")?;
    let environment = format!(
        "export AEGIR_URL={}\nexport AEGIR_TOKEN_FILE='{}'\nexport PATH='{}':\"$PATH\"\nexport DEMO_NGINX_PORT={}\n",
        relayd.url(),
        relayd.token_file().display(),
        programs.display(),
        nginx.port()
    );
    let hosts = json!([host]);
    for (name, text) in
        [(ENVIRONMENT, environment), (HOSTS, format!("{hosts:#}\n")), (VARIABLES, format!("{variables:#}\n"))]
    {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}

/// Removes the files, which name daemons that run no longer.
pub fn remove(directory: &Path) {
    for name in [ENVIRONMENT, HOSTS, VARIABLES] {
        let _ = fs::remove_file(directory.join(name));
    }
}

/// The file for a shell to `source`.
#[must_use]
pub fn environment(directory: &Path) -> PathBuf {
    directory.join(ENVIRONMENT)
}

/// What `aegir` is given to deploy the site.
#[must_use]
pub fn deploy(directory: &Path) -> Vec<String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let words = ["run", "static_site.deploy", "--target", &format!("site:{SITE}")].map(str::to_owned);
    let files = ["--hosts-file".to_owned(), file(HOSTS), "--vars-file".to_owned(), file(VARIABLES)];
    words.into_iter().chain(files).chain(["--follow".to_owned()]).collect()
}
