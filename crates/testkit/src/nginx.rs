//! An nginx in user mode: its configuration, logs and sites below one directory, no root needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aegir_client::address::RelaydAddress;
use aegir_client::{Client, Method};
use anyhow::{Context as _, bail};
use tokio::net::TcpStream;

use crate::port::free_port;
use crate::process::Process;

/// Where Debian installs the program; the `PATH` of an ordinary user does not hold it.
const PROGRAMS: [&str; 3] = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
const START: Duration = Duration::from_secs(30);

/// A running web server. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    directory: PathBuf,
    port: u16,
    process: Process,
}

impl Nginx {
    /// Starts one on a free port of 127.0.0.1, with everything of it in `directory`.
    ///
    /// # Errors
    ///
    /// If nginx is not installed or does not come up; the message shows the end of its log.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_on(directory, free_port()?).await
    }

    /// The same on a given port. Until there is a site, the port answers 404.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_on(directory: &Path, port: u16) -> anyhow::Result<Self> {
        let Some(program) = PROGRAMS.iter().find(|program| Path::new(program).exists()) else {
            bail!("nginx is missing: install nginx-light")
        };
        for name in ["sites", "temporary"] {
            let path = directory.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let directory = directory.canonicalize().context("nginx's directory has no absolute path")?;
        let config = directory.join("nginx.conf");
        std::fs::write(&config, configuration(&directory, port)).context("cannot write nginx.conf")?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&directory).arg("-c").arg(&config).args(["-g", "daemon off;"]);
        let mut process = Process::spawn("nginx", command, &directory.join("output.log"))?;
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await.ok();
        process.until("a connection", START, connect).await?;
        Ok(Self { directory, port, process })
    }

    /// What the role `static_site` calls `server_directory`: `nginx.conf` and `sites/` are there.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the master.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// If the kernel does not let go of it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.kill().await
    }

    /// Fetches a page of a site: its status and its bytes.
    ///
    /// # Errors
    ///
    /// If nobody answers.
    pub async fn fetch(&self, site: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
        let client = Client::new(RelaydAddress::Http(format!("http://127.0.0.1:{}", self.port)), None)?;
        let request = client.request(Method::GET, path).header("host", site);
        let answer = client.answer(request).await.context("nginx does not answer")?;
        Ok((answer.status.as_u16(), answer.body.to_vec()))
    }
}

fn configuration(directory: &Path, port: u16) -> String {
    // As root, nginx would let its workers run as `nobody`, who can't read below a private directory.
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let at = directory.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path \"{at}/temporary/{name}\";\n"))
        .concat();
    format!(
        "{user}pid \"{at}/nginx.pid\";\n\
         error_log \"{at}/error.log\";\n\
         worker_processes 1;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n    access_log off;\n\
         {temporary}    types {{ text/html html htm; text/css css; text/plain txt; }}\n\
         \x20   default_type application/octet-stream;\n\
         \x20   server {{ listen 127.0.0.1:{port} default_server; return 404; }}\n\
         \x20   include \"{at}/sites/*.conf\";\n}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_without_sites_answers_404() {
        let directory = tempfile::tempdir().unwrap();
        let nginx = Nginx::start(directory.path()).await.unwrap();
        assert_eq!(nginx.fetch("example.test", "/").await.unwrap().0, 404);
    }
}
