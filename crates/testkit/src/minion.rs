//! A minion: a real sshd on a port of its own, with its own host key and its own authorized key.
//!
//! Whoever logs in is the user that the test runs as; nothing of that user's own `~/.ssh` is read. The
//! commands that a login runs have the environment of an ordinary login, without anything of the test's.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::port::free_port;
use crate::process::Process;

/// How long sshd may take to listen.
const START: Duration = Duration::from_secs(20);

/// A running sshd. Dropping it ends it and every session.
#[derive(Debug)]
pub struct TestMinion {
    process: Process,
    directory: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// Its public host key, `TYPE BASE64`.
    pub host_key: String,
    /// Who can log in.
    pub user: String,
    /// The private key that may log in.
    pub identity_file: PathBuf,
}

/// What a minion is to be like.
#[derive(Clone, Debug)]
pub struct MinionBuilder {
    directory: PathBuf,
    port: Option<u16>,
    settings: Vec<(String, String)>,
}

impl TestMinion {
    /// Starts one with everything that it needs in `directory`, on a free port.
    ///
    /// # Errors
    ///
    /// If sshd is missing or does not come up; the message shows its log.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::builder(directory).start().await
    }

    /// For a minion with a port of the caller's choice.
    #[must_use]
    pub fn builder(directory: &Path) -> MinionBuilder {
        MinionBuilder { directory: directory.to_owned(), port: None, settings: Vec::new() }
    }

    /// The file with what sshd says: each connection, each login.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// The directory with its keys and its configuration.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its line in a known hosts file.
    #[must_use]
    pub fn known_hosts_line(&self) -> String {
        format!("[127.0.0.1]:{} {}\n", self.port, self.host_key)
    }

    /// Ends it and every session, as a power cut would.
    ///
    /// # Errors
    ///
    /// If the kernel does not let go of it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let sessions = descendants(self.process.id());
        self.process.kill().await?;
        end(&sessions);
        Ok(())
    }
}

impl Drop for TestMinion {
    fn drop(&mut self) {
        let sessions = descendants(self.process.id());
        // So that it starts no others; the rest of it goes with the field.
        let _ = self.process.signal_group(Signal::KILL);
        end(&sessions);
    }
}

/// sshd gives each connection a session of its own, which the end of its process group does not reach.
fn descendants(id: u32) -> Vec<Pid> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let id: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            // The parent's id is the second field after the name in parentheses.
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut found = vec![i32::try_from(id).unwrap_or_default()];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

fn end(processes: &[Pid]) {
    for &process in processes {
        let _ = kill_process(process, Signal::KILL);
    }
}

impl MinionBuilder {
    /// On this port. Without it, a free one is chosen.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// With this in its `sshd_config`, in place of what a minion has there otherwise: `setting("MaxSessions", "1")`.
    #[must_use]
    pub fn setting(mut self, keyword: &str, value: &str) -> Self {
        self.settings.push((keyword.to_owned(), value.to_owned()));
        self
    }

    /// As if this program were the login's shell in `/etc/passwd`, with this home directory: what a login asks for is
    /// read by it.
    #[must_use]
    pub fn login_shell(self, program: &Path, home: &Path) -> Self {
        let command =
            format!("HOME='{}' exec '{}' -c \"$SSH_ORIGINAL_COMMAND\"", home.display(), program.display());
        self.setting("ForceCommand", &command)
    }

    /// Starts it. Keys that are in the directory already are used again.
    ///
    /// # Errors
    ///
    /// If sshd is missing or does not come up; the message shows its log.
    pub async fn start(self) -> anyhow::Result<TestMinion> {
        let Self { directory, port, settings } = self;
        let directory = std::path::absolute(&directory).context("the minion's directory has no place")?;
        make_private(&directory)?;
        let port = port.map_or_else(free_port, Ok)?;
        let (host_key_file, identity_file) = (directory.join("host_key"), directory.join("identity"));
        make_key(&host_key_file)?;
        make_key(&identity_file)?;
        let authorized = directory.join("authorized_keys");
        write_private(&authorized, &public_half(&identity_file)?)?;
        let config = directory.join("sshd_config");
        let text = with(&sshd_config(&directory, &host_key_file, &authorized, port), &settings);
        write_private(&config, &text)?;
        if rustix::process::geteuid().is_root() {
            // Where sshd, as root, puts the process that talks to somebody unknown. Debian makes it at boot.
            std::fs::create_dir_all("/run/sshd").context("cannot make /run/sshd")?;
        }
        let mut command = Command::new(program()?);
        command.arg("-D").arg("-e").arg("-f").arg(&config);
        // What a login of the user has, not what the test has.
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut process = Process::spawn("sshd", command, &directory.join("sshd.log"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let listens = async || TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok();
        process.until("it listens", START, listens).await?;
        let host_key = public_half(&host_key_file)?;
        let host_key = host_key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Ok(TestMinion { process, directory, port, host_key, user: user()?, identity_file })
    }
}

fn sshd_config(directory: &Path, host_key: &Path, authorized: &Path, port: u16) -> String {
    // StrictModes wants every directory above to belong to the user, which a temporary one does not.
    // Without PAM no session is set up that needs root, and sshd runs as an ordinary user too.
    format!(
        "Port {port}\n\
         ListenAddress 127.0.0.1\n\
         HostKey \"{}\"\n\
         AuthorizedKeysFile \"{}\"\n\
         PidFile \"{}\"\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         PrintMotd no\n\
         MaxStartups 100\n\
         MaxSessions 100\n\
         Subsystem sftp internal-sftp\n",
        host_key.display(),
        authorized.display(),
        directory.join("sshd.pid").display(),
    )
}

/// The same config with these in place of its own: the first value of a keyword counts.
fn with(config: &str, settings: &[(String, String)]) -> String {
    let first: String = settings.iter().map(|(keyword, value)| format!("{keyword} {value}\n")).collect();
    first + config
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot make {}", directory.display()))
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn make_key(path: &Path) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "aegir-test", "-f"])
        .arg(path)
        .output()
        .context("cannot start ssh-keygen: install openssh-client")?;
    if !output.status.success() {
        bail!("ssh-keygen: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn public_half(path: &Path) -> anyhow::Result<String> {
    let path = path.with_extension("pub");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// sshd starts itself again for each connection, so it must be called by its absolute path.
fn program() -> anyhow::Result<PathBuf> {
    ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .context("there is no sshd: install openssh-server")
}

fn user() -> anyhow::Result<String> {
    let output = Command::new("id").arg("-un").output().context("cannot start id")?;
    let name = String::from_utf8(output.stdout).context("the user's name is not UTF-8")?.trim().to_owned();
    if name.is_empty() { bail!("this user has no name") } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_login_with_the_key_runs_a_command() {
        let directory = tempfile::tempdir().unwrap();
        let minion = TestMinion::start(directory.path()).await.unwrap();
        let known_hosts = directory.path().join("known_hosts");
        std::fs::write(&known_hosts, minion.known_hosts_line()).unwrap();
        let output = Command::new("ssh")
            .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
            .arg("-i")
            .arg(&minion.identity_file)
            .args(["-p", &minion.port.to_string(), "-l", &minion.user, "127.0.0.1", "echo there"])
            .output()
            .unwrap();
        let log = std::fs::read_to_string(minion.log()).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "there\n", "{log}");
    }
}
