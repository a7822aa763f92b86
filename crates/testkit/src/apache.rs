//! An Apache that has all of its own below one directory, with what Debian's configuration says to all sites.

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
    "authz_host",
    "alias",
    "autoindex",
    "deflate",
    "dir",
    "env",
    "filter",
    "mime",
    "negotiation",
    "reqtimeout",
    "setenvif",
    "status",
    "headers",
    "proxy",
    "proxy_fcgi",
    "rewrite",
    "socache_shmcb",
    "ssl",
];

/// What of Debian's own configuration concerns sites. The package `apache2` has it, and `apache2-bin` alone has not.
const DEBIAN: &str = r#"
Alias /icons/ "/usr/share/apache2/icons/"
<Directory "/usr/share/apache2/icons">
    Options FollowSymLinks
    Require all granted
</Directory>
DirectoryIndex index.html index.cgi index.pl index.php index.xhtml index.htm
AddHandler type-map var
AddType text/html .shtml
<Location /server-status>
    SetHandler server-status
    Require local
</Location>
ExtendedStatus On
<FilesMatch "^\.ht">
    Require all denied
</FilesMatch>
# Of other packages of Debian's: programs, and a PHP for all sites (here, one that does not run).
ScriptAlias /cgi-bin/ "/usr/share/apache2/"
<FilesMatch "\.ph(ar|p|tml)$">
    SetHandler "proxy:fcgi://127.0.0.1:9"
</FilesMatch>
"#;
/// Where the package is installed, its own files are read too, as they are for the modules that it enables.
const INSTALLED: &str = "/etc/apache2/mods-available";

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
        command.env("APACHE_RUN_DIR", &directory);
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
    text += DEBIAN;
    for module in MODULES.iter().filter(|name| !name.starts_with("mpm_")) {
        let _ = writeln!(text, "IncludeOptional {INSTALLED}/{module}.conf");
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
