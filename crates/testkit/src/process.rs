//! A process under test: its output in a file, its whole group ended with it, every wait with a deadline.
//!
//! Each process leads a process group of its own. A guard, a `sh` that does nothing but wait for the end of a
//! pipe that the test holds, kills that group if the test itself is killed, so that an aborted test run leaves
//! nothing behind.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often a condition is looked at again.
const INTERVAL: Duration = Duration::from_millis(10);
/// How many lines of a log an error shows.
const TAIL: usize = 40;

/// A process that the test started. Dropping it kills its process group.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    guard: Child,
    group: Pid,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` with nothing on its input and both outputs appended to the file `log`.
    ///
    /// # Errors
    ///
    /// If the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = open_log(log)?;
        let errors = output.try_clone().context("cannot duplicate the log's descriptor")?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        let group = Pid::from_child(&child);
        let guard = match guard(group) {
            Ok(guard) => guard,
            Err(error) => {
                let _ = kill_process_group(group, Signal::KILL);
                return Err(error);
            }
        };
        Ok(Self { name: name.to_owned(), child, guard, group, log: log.to_owned(), ended: None })
    }

    /// The process id, which is also that of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with its output.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its output, for the message of a failed test.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    ///
    /// If the kernel will not say.
    pub fn status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("cannot wait for {}", self.name))?;
            if self.ended.is_some() {
                self.end_group();
            }
        }
        Ok(self.ended)
    }

    /// Sends a signal to the process alone, as a supervisor would.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.refuse_if_ended()?;
        kill_process(self.group, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Sends a signal to the process and all of its group.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn signal_group(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.refuse_if_ended()?;
        kill_process_group(self.group, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    ///
    /// If it still runs after `deadline`; the message shows the end of its log.
    pub async fn wait(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.status()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("{} still runs after {deadline:?}; its log ends:\n{}", self.name, self.log_tail());
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Asks it to end with SIGTERM and waits.
    ///
    /// # Errors
    ///
    /// If it still runs after `deadline`.
    pub async fn terminate(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        if self.status()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        self.wait(deadline).await
    }

    /// Kills its whole group with SIGKILL, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// If the kernel does not let go of it within ten seconds.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if self.status()?.is_none() {
            self.signal_group(Signal::KILL)?;
            self.wait(Duration::from_secs(10)).await?;
        }
        Ok(())
    }

    /// Waits until `probe` gives a value, and fails at once if the process ends before.
    ///
    /// # Errors
    ///
    /// If the process ended or the deadline passed; the message shows the end of its log.
    pub async fn until<T>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut probe: impl AsyncFnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(value) = probe().await {
                return Ok(value);
            }
            if let Some(status) = self.status()? {
                bail!("{} ended ({status}) before {what}; its log ends:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > end {
                let tail = self.log_tail();
                bail!("{}: {what} did not happen within {deadline:?}; its log ends:\n{tail}", self.name);
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Kills what is left of the group and dismisses the guard. Called once, at the latest directly after the
    /// leader was reaped: later its id could belong to somebody else.
    fn end_group(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.guard.kill();
        let _ = self.guard.wait();
    }

    fn refuse_if_ended(&mut self) -> anyhow::Result<()> {
        match self.status()? {
            // The id may belong to somebody else by now.
            Some(status) => {
                Err(anyhow!("{} has ended ({status}); its log ends:\n{}", self.name, self.log_tail()))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_some() {
            return;
        }
        self.end_group();
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(INTERVAL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

/// The last lines of a file, or why they cannot be shown.
#[must_use]
pub fn tail(path: &Path) -> String {
    match std::fs::read(path) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL)..].join("\n")
        }
        Err(error) => format!("(cannot read {}: {error})", path.display()),
    }
}

fn open_log(path: &Path) -> anyhow::Result<File> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// A shell that kills `group` when the pipe to its input ends, which it does when this process is gone. It is
/// in a group of its own, so that what kills the test's group does not kill it first.
fn guard(group: Pid) -> anyhow::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", "read -r _; kill -s KILL -- \"-$1\"", "guard", &group.as_raw_nonzero().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .context("cannot start /bin/sh to guard a process under test")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn runs(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the parenthesised name; a zombie has ended.
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
    }

    async fn until_gone(pid: i32) {
        let end = Instant::now() + Duration::from_secs(10);
        while runs(pid) {
            assert!(Instant::now() < end, "{pid} still runs");
            tokio::time::sleep(INTERVAL).await;
        }
    }

    #[tokio::test]
    async fn a_dropped_process_takes_its_children_along() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut process = Process::spawn("sh", shell("sleep 1000 & echo $!; wait"), &log).unwrap();
        let read = async || std::fs::read_to_string(&log).ok()?.trim().parse::<i32>().ok();
        let grandchild = process.until("its child's id", Duration::from_secs(10), read).await.unwrap();
        assert!(runs(grandchild));
        drop(process);
        until_gone(grandchild).await;
    }

    #[tokio::test]
    async fn the_guard_kills_the_group_when_the_test_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let mut process =
            Process::spawn("sh", shell("sleep 1000 & wait"), &directory.path().join("log")).unwrap();
        let pid = i32::try_from(process.id()).unwrap();
        // What the kernel does with our end of the pipe when we die.
        drop(process.guard.stdin.take());
        process.wait(Duration::from_secs(10)).await.unwrap();
        until_gone(pid).await;
    }

    #[tokio::test]
    async fn an_early_end_is_an_error_that_shows_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut process =
            Process::spawn("sh", shell("echo because; exit 3"), &directory.path().join("log")).unwrap();
        let never = async || None::<()>;
        let error = process.until("readiness", Duration::from_secs(10), never).await.unwrap_err().to_string();
        assert!(error.contains("because") && error.contains("exit status: 3"), "{error}");
    }
}
