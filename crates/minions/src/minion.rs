//! How a minion is reached: its login, the socket of its connection, and what ssh is told.

use std::io;
use std::path::{Path, PathBuf};

use openssh::Session;
use tokio::process::Command;

use super::error::MinionError;
use super::login::{KnownHosts, Login};

/// The directory below the runtime directory where control sockets are.
const DIRECTORY: &str = "ssh";
/// How long a connection that nobody uses stays, in seconds.
const PERSIST_SECONDS: u32 = 60;
/// The longest path of a control socket: 108 bytes for `sun_path`, less what ssh puts behind the name while
/// it makes one, less the final zero.
const LONGEST_SOCKET: usize = 108 - 17 - 1;

/// How a shell is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionKind {
    /// Over the connection that everybody uses.
    Shared,
    /// Over a new connection that everybody uses from then on.
    Master,
    /// Over a connection of its own.
    Own,
}

/// A minion that answers: its connection stands.
#[derive(Clone, Debug)]
pub struct Minion {
    pub(super) login: Login,
    pub(super) socket: PathBuf,
    known_hosts: PathBuf,
}

impl Minion {
    /// Everything but the connection: for whoever makes that with [`options`](Self::options).
    ///
    /// # Errors
    /// When something beside dispatcherd is in the way.
    pub fn prepare(login: Login, runtime: &Path) -> Result<Self, MinionError> {
        let here = |what: &str, path: &Path, error: io::Error| {
            MinionError::here(format!("can't {what} {}: {error}", path.display()), &error)
        };
        let lines = login.known_host_lines().map_err(|error| match &login.known_hosts {
            KnownHosts::File(path) => here("read", path, error),
            KnownHosts::Given(_) => MinionError::Here(error.to_string()),
        })?;
        let directory = runtime.join(DIRECTORY);
        aegir_attempt::private::private_directory(&directory)
            .map_err(|error| here("make", &directory, error))?;
        let digest = login.digest(&lines);
        let socket = directory.join(&digest);
        let known_hosts = directory.join(format!("{digest}.known_hosts"));
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(MinionError::Here(format!(
                "{} is too long for a socket: choose a shorter runtime_directory in dispatcherd's config",
                socket.display()
            )));
        }
        aegir_service::atomic::write_file(&known_hosts, lines.as_bytes(), 0o600)
            .map_err(|error| here("write", &known_hosts, error))?;
        Ok(Self { login, socket, known_hosts })
    }

    /// How it is reached.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Whether its connection stands, as far as can be told without asking.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.socket.exists()
    }

    /// The options that make any ssh use this connection, and believe the right host keys where it has to
    /// make one of its own.
    #[must_use]
    pub fn options(&self) -> Vec<String> {
        vec![
            "ControlMaster=auto".to_owned(),
            format!("ControlPersist={PERSIST_SECONDS}"),
            format!("ControlPath={}", quoted(&self.socket)),
            format!("UserKnownHostsFile={}", quoted(&self.known_hosts)),
            "GlobalKnownHostsFile=/dev/null".to_owned(),
            "StrictHostKeyChecking=yes".to_owned(),
            "UpdateHostKeys=no".to_owned(),
            "BatchMode=yes".to_owned(),
            "PasswordAuthentication=no".to_owned(),
            "ServerAliveInterval=15".to_owned(),
            "ServerAliveCountMax=3".to_owned(),
            format!("ConnectTimeout={}", self.login.connect_timeout_seconds),
        ]
    }

    /// A session over the shared connection. Dropping it ends nothing.
    pub(super) fn session(&self) -> Session {
        Session::resume(self.socket.clone().into_boxed_path(), None)
    }

    /// An ssh that logs in by itself. The command is still to be added.
    pub(super) fn ssh(&self, way: ConnectionKind) -> Command {
        let mut command = Command::new("ssh");
        // The agent, if there is one, is for this login; nothing else of ours goes in.
        let agent = std::env::var_os("SSH_AUTH_SOCK");
        command.env_clear().envs(aegir_service::environment::base());
        command.envs(agent.map(|agent| ("SSH_AUTH_SOCK", agent)));
        let shares = way == ConnectionKind::Master;
        // The first value of an option counts. A master is started by a command of its own: should the path be taken
        // after all, the command runs without one, and nothing stays behind.
        command.args(["-o", if shares { "ControlMaster=yes" } else { "ControlMaster=no" }]);
        for option in self.options().into_iter().filter(|option| shares || !option.starts_with("Control")) {
            command.arg("-o").arg(option);
        }
        if !shares {
            command.args(["-o", "ControlPath=none"]);
        }
        command.arg("-T");
        if let Some(file) = &self.login.identity_file {
            command.arg("-i").arg(file).args(["-o", "IdentitiesOnly=yes"]);
        }
        command.arg("-p").arg(self.login.port.to_string()).arg("-l").arg(self.login.user.as_str());
        command.arg("--").arg(&self.login.address).kill_on_drop(true);
        // Not in a group that is signalled with somebody else.
        command.process_group(0);
        command
    }
}

/// A path as a value of ssh's `-o`: a percent sign would be expanded, a space would end it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('%', "%%"))
}
