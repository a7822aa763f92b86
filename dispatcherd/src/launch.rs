//! Starting a runner's process.
//!
//! A runner is a process of its own that holds a lock on its directory for life (`aegir_attempt::lock`). Nothing else
//! tells whether it is alive: a process id would be another process's after a while, and dispatcherd, whose child it is,
//! may be restarted at any moment.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use aegir_attempt::AttemptDirectory;
use tokio::process::{Child, Command};

/// What a runner inherits of the environment. In particular not what systemd gives to dispatcherd alone:
/// its notification socket, its watchdog and its credentials.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "RUST_LOG"];

/// The program that a runner is.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
}

impl Launcher {
    /// This very program, which an upgrade may replace while it runs: its path is what counts, so that a
    /// runner that starts after the upgrade is the new one.
    ///
    /// # Errors
    /// When the system can't say where it is.
    pub fn of_this_program() -> io::Result<Self> {
        Ok(Self { program: std::env::current_exe()? })
    }
}

/// Starts the runner of a directory. It has a process group of its own and outlives this process; waiting
/// for the child only tells its end sooner.
///
/// # Errors
/// When it can't be started, or its log or its lock not be made. The lock is made here because a runner that can't
/// take it can only end, while a start that meets a full disk is tried again.
pub fn start(launcher: &Launcher, directory: &AttemptDirectory) -> io::Result<Child> {
    let log = OpenOptions::new().create(true).append(true).open(directory.runner_log())?;
    OpenOptions::new().create(true).append(true).mode(0o640).open(directory.lock())?;
    let mut command = Command::new(&launcher.program);
    command.arg("runner").arg(directory.path()).current_dir("/").process_group(0).env_clear();
    command.envs(INHERITED.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn()
}

/// Waits for the end of a runner that is our child; says nothing about others that may hold its lock.
pub(crate) async fn ended(child: &mut Child) -> Option<ExitStatus> {
    child.wait().await.inspect_err(|error| tracing::error!(%error, "a runner can't be waited for")).ok()
}
