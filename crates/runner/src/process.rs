//! A process beside dispatcherd.
//!
//! It is started behind a gate: a shell of one line that waits for a newline before it becomes the program.
//! The process group and its start time are on the disk (`child.json`) before that newline is written, so
//! that whoever finds a runner dead finds its child too. When the runner dies before, the gate reads the end
//! of its input and the program never starts.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use aegir_attempt::group::{self, Recorded};
use aegir_minions::StopSignal;
use aegir_protocol::record::{ChildExit, Remains};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::process::{Child as TokioChild, ChildStderr, ChildStdout, Command};

use super::child::{Child, Cleanup};

/// Waits for the newline, then becomes the program, with nothing on its input.
const GATE: &str = r#"read -r _ || exit 125; exec "$@" </dev/null"#;
/// The same for a plug-in: sets its limits, and gives it its input and the pipe that it speaks on.
const PLUG: &str = r#"read -r _ || exit 125; for limit in $1; do ulimit "${limit%=*}" "${limit#*=}" || exit 125; done; \
in=$2; lines=$3; shift 3; exec "$@" <"$in" 3>"$lines""#;
/// How long the end of what was left behind may take.
const CLEANUP_LIMIT: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Clone, Debug)]
pub(super) struct ChildSpec {
    /// The program and its arguments.
    pub(super) argv: Vec<OsString>,
    /// Beside `PATH`, `HOME` and `LC_ALL`, which every child has. Nothing else is inherited.
    pub(super) environment: BTreeMap<String, OsString>,
    /// Where it starts.
    pub(super) directory: PathBuf,
    /// Where its process group is recorded.
    pub(super) record: PathBuf,
    /// Tells this attempt's processes from others; see [`group::MARKER`].
    pub(super) marker: String,
    /// What a plug-in has besides.
    pub(super) plugged: Option<PluginIo>,
}

/// What a plug-in has besides.
#[derive(Clone, Debug)]
pub(super) struct PluginIo {
    /// The file that it reads.
    pub(super) input: PathBuf,
    /// The named pipe that it writes lines to.
    pub(super) lines: PathBuf,
    /// Options of the shell's `ulimit`, with their values.
    pub(super) limits: Vec<(&'static str, u64)>,
}

/// Why a program was not started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// There is no such program, or it can't be executed.
    #[error("can't find the program {0:?}: install it, or correct its path")]
    Missing(String),
    /// The system refused.
    #[error("can't start {program:?}")]
    Start { program: String, source: io::Error },
    /// The process group could not be recorded.
    #[error("can't record the child in {path}")]
    Record { path: PathBuf, source: io::Error },
}

/// A running process and all of its group.
#[derive(Debug)]
pub(super) struct LocalChild {
    child: TokioChild,
    group: Pid,
    marker: String,
    record: PathBuf,
    leaves: bool,
}

impl LocalChild {
    /// What it has started may live on when it has succeeded.
    pub(super) fn leaving(self, leaves: bool) -> Self {
        Self { leaves, ..self }
    }

    /// Starts a program.
    ///
    /// # Errors
    /// When it can't be found, started or recorded; nothing runs then.
    pub(super) async fn start(program: ChildSpec) -> Result<Self, SpawnError> {
        let name = program.argv.first().cloned().unwrap_or_default();
        let found = find(&name, &aegir_service::environment::search_path())
            .ok_or_else(|| SpawnError::Missing(shown(&name)))?;
        let failed = |source| SpawnError::Start { program: shown(&name), source };
        let mut command = Command::new("/bin/sh");
        match &program.plugged {
            None => command.args(["-c", GATE, "sh"]),
            Some(PluginIo { input, lines, limits }) => {
                let limits: Vec<_> =
                    limits.iter().map(|(option, value)| format!("{option}={value}")).collect();
                command.args(["-c", PLUG, "sh", &limits.join(" ")]).args([input, lines])
            }
        };
        command.arg(found).args(&program.argv[1..]);
        command.env_clear().envs(aegir_service::environment::base()).envs(&program.environment);
        command.env(group::MARKER, &program.marker).current_dir(&program.directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| failed(io::Error::other("it has no process id")))?;
        let recorded = Recorded::of(group, &program.marker);
        if let Err(source) = recorded.and_then(|recorded| recorded.write(&program.record)) {
            let _ = child.kill().await;
            return Err(SpawnError::Record { path: program.record, source });
        }
        if let Some(mut gate) = child.stdin.take() {
            gate.write_all(b"\n").await.map_err(failed)?;
        }
        Ok(Self { child, group, marker: program.marker, record: program.record, leaves: false })
    }
}

fn shown(name: &OsStr) -> String {
    name.to_string_lossy().chars().take(200).collect()
}

/// The file of a program, as a shell would find it.
fn find(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if Path::new(name).components().count() > 1 || Path::new(name).is_absolute() {
        return Some(PathBuf::from(name)).filter(|path| executable(path));
    }
    std::env::split_paths(path).map(|directory| directory.join(name)).find(|path| executable(path))
}

/// Standard output or standard error.
#[derive(Debug)]
pub(super) enum Pipe {
    /// Standard output.
    Stdout(ChildStdout),
    /// Standard error.
    Stderr(ChildStderr),
    /// A pipe that was taken before.
    Closed,
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Stdout(pipe) => std::pin::Pin::new(pipe).poll_read(context, buffer),
            Self::Stderr(pipe) => std::pin::Pin::new(pipe).poll_read(context, buffer),
            Self::Closed => std::task::Poll::Ready(Ok(())),
        }
    }
}

impl Child for LocalChild {
    type Output = Pipe;

    fn streams(&mut self) -> (Pipe, Pipe) {
        let stdout = self.child.stdout.take().map_or(Pipe::Closed, Pipe::Stdout);
        let stderr = self.child.stderr.take().map_or(Pipe::Closed, Pipe::Stderr);
        (stdout, stderr)
    }

    async fn wait(&mut self) -> io::Result<ChildExit> {
        let status = self.child.wait().await?;
        Ok(ChildExit { code: status.code(), signal: status.signal() })
    }

    fn signal(&mut self, stop_signal: StopSignal) {
        let signal = match stop_signal {
            StopSignal::Interrupt => Signal::INT,
            StopSignal::Terminate => Signal::TERM,
            StopSignal::Kill => Signal::KILL,
        };
        // A group that is gone already needs no pressing.
        let _ = kill_process_group(self.group, signal);
    }

    async fn clean_up(&mut self, suspicion: bool) -> Cleanup {
        let found = !group::members(self.group).is_empty();
        let remains = if found || suspicion || self.leaves {
            group::end(Some(self.group), &self.marker, CLEANUP_LIMIT).await
        } else {
            Remains::Gone
        };
        if remains == Remains::Gone {
            let _ = std::fs::remove_file(&self.record);
        }
        Cleanup { found, remains }
    }

    fn may_leave(&self, exit: &ChildExit) -> bool {
        self.leaves && exit.code == Some(0)
    }

    async fn leave_running(&mut self) -> Remains {
        // Whoever finds this runner dead is not to end it.
        let _ = std::fs::remove_file(&self.record);
        if group::lives(&self.marker) { Remains::Left } else { Remains::Gone }
    }
}
