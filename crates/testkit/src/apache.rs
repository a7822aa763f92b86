//! An Apache without Debian's configuration: all that it has below one directory.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpStream;

use crate::process::Process;

const START: Duration = Duration::from_secs(30);
/// Those that Debian enables and the roles' virtual hosts are written for, and those that `minion.setup` enables beside them.
const MODULES: &[&str] = &[
    "mpm_event",
    "authz_core",
    "alias",
    "autoindex",
    "dir",
    "mime",
    "negotiation",
    "setenvif",
    "headers",
    "proxy",
    "proxy_fcgi",
    "rewrite",
    "socache_shmcb",
    "ssl",
];

/// A running web server. Dropping it ends it.
#[derive(Debug)]
pub struct Apache {
    port: u16,
    _process: Process,
}

impl Apache {
    /// Starts one on a port of 127.0.0.1 that reads `sites/*.conf` in `directory`. It listens on `more` too.
    ///
    /// # Errors
    ///
    /// If Apache is not installed or does not come up; the message shows the end of its log.
    pub async fn start_on(directory: &Path, port: u16, more: &[u16]) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory.join("sites")).context("cannot make the directory of sites")?;
        let directory = directory.canonicalize().context("Apache's directory has no absolute path")?;
        let config = directory.join("apache2.conf");
        std::fs::write(&config, configuration(&directory, port, more))
            .context("cannot write apache2.conf")?;
        let mut command = Command::new("/usr/sbin/apache2");
        // One process: where it is killed, no other is left.
        command.arg("-d").arg(&directory).arg("-f").arg(&config).arg("-X");
        let mut process = Process::spawn("apache2", command, &directory.join("output.log"))?;
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await.ok();
        process.until("a connection", START, connect).await?;
        Ok(Self { port, _process: process })
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets it into a directory or a socket of the test: it answers nobody as root.
    ///
    /// # Errors
    ///
    /// If there is no such file.
    pub fn let_in(path: &Path) -> anyhow::Result<()> {
        if rustix::process::geteuid().is_root() {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))
                .context("cannot open it")?;
        }
        Ok(())
    }
}

fn configuration(directory: &Path, port: u16, more: &[u16]) -> String {
    let at = directory.display();
    let mut text = String::new();
    for module in MODULES {
        let _ = writeln!(text, "LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so");
    }
    for port in [port].iter().chain(more) {
        let _ = writeln!(text, "Listen 127.0.0.1:{port}");
    }
    if rustix::process::geteuid().is_root() {
        text += "User www-data\nGroup www-data\n";
    }
    text + &format!(
        "ServerName localhost\n\
         PidFile \"{at}/apache2.pid\"\n\
         DefaultRuntimeDir \"{at}\"\n\
         ErrorLog \"{at}/error.log\"\n\
         TypesConfig /dev/null\n\
         AddType text/html .html\n\
         AddType text/plain .txt\n\
         <Directory />\n    Options FollowSymLinks\n    AllowOverride None\n    Require all denied\n</Directory>\n\
         IncludeOptional \"{at}/sites/*.conf\"\n"
    )
}
