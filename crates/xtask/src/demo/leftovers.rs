//! The demo's directory: one demo at a time, and what a killed one has left is ended before the next begins.
//!
//! Every process that a demo starts is written down with the time at which it was started. A process is ended only
//! if both fit: an id alone may belong to somebody else by now.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aegir_testkit::daemon::end_runners;
use aegir_testkit::demo;
use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

const LOCK: &str = "lock";
const PROCESSES: &str = "processes";
const PATIENCE: Duration = Duration::from_secs(5);
/// A socket's path can't have more than 107 bytes, and its name below this directory takes its share.
const LONGEST_RUNTIME: usize = 55;

/// Removes what a reader types commands with from the directories of demos that were killed, so that nobody is sent to
/// daemons that are gone. `usual` is the directory of a demo with the usual ports; those of others lie in it.
pub(crate) fn forget_killed(usual: &Path) {
    let others = fs::read_dir(usual).into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        is_ports(&entry.file_name().to_string_lossy()).then(|| entry.path())
    });
    for directory in others.chain([usual.to_owned()]) {
        // One that is locked runs.
        if let Ok(lock) = File::open(directory.join(LOCK))
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            demo::remove(&directory);
        }
    }
}

/// A directory that is ours alone while this lives, and was empty when it began.
#[derive(Debug)]
pub(crate) struct DemoDirectory {
    directory: PathBuf,
    had_leftovers: bool,
    _lock: File,
}

impl DemoDirectory {
    /// Takes the directory, ends what an earlier demo has left, and clears it.
    ///
    /// # Errors
    /// When another demo uses it, or it can't be cleared.
    pub(crate) fn enter(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("can't open {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!(
                "a demo runs already in {}: end it with Ctrl-C, or start another one with --port-base N",
                directory.display()
            );
        }
        let mut stage = Self { directory: directory.to_owned(), had_leftovers: false, _lock: lock };
        stage.had_leftovers = stage.end_leftovers();
        stage.clear()?;
        Ok(stage)
    }

    /// Where everything lies.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// dispatcherd's directory.
    pub(crate) fn dispatcherd(&self) -> PathBuf {
        self.directory.join("dispatcherd")
    }

    /// Where dispatcherd's sockets are: below the demo's directory, unless its path is too long for them.
    pub(crate) fn runtime(&self) -> PathBuf {
        let inside = self.dispatcherd().join("run");
        if inside.as_os_str().len() <= LONGEST_RUNTIME {
            return inside;
        }
        let name = self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        std::env::temp_dir().join(format!("aegir-demo-{}-{name}", rustix::process::geteuid().as_raw()))
    }

    /// Whether something of an earlier demo had to be ended.
    pub(crate) fn had_leftovers(&self) -> bool {
        self.had_leftovers
    }

    /// Writes down that a process was started.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn note(&self, name: &str, pid: u32) -> anyhow::Result<()> {
        let pid = i32::try_from(pid).context("a process id is not a number of its kind")?;
        let Some(started) = started(pid) else { return Ok(()) };
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.join(PROCESSES))
            .context("can't open the list of processes")?;
        writeln!(file, "{pid} {started} {name}").context("can't write the list of processes")
    }

    /// The same for a process that has written its id into a file.
    ///
    /// # Errors
    /// When it can't be written down.
    pub(crate) fn note_file(&self, name: &str, file: &Path) -> anyhow::Result<()> {
        match fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()) {
            Some(pid) => self.note(name, pid),
            // It writes it when it comes to it; its guard ends it as well.
            None => Ok(()),
        }
    }

    /// Ends what is left of this demo, and forgets its processes.
    pub(crate) fn leave(&self) {
        self.end_leftovers();
        let _ = fs::remove_file(self.directory.join(PROCESSES));
        let _ = fs::remove_dir_all(self.runtime());
        demo::remove(&self.directory);
    }

    /// Ends what the list names, and says whether there was anything.
    fn end_leftovers(&self) -> bool {
        let list = fs::read_to_string(self.directory.join(PROCESSES)).unwrap_or_default();
        let mut found = false;
        for (pid, begin) in list.lines().filter_map(entry) {
            found |= end(pid, begin);
        }
        end_runners(&self.dispatcherd().join("state"), &self.runtime());
        found || !list.is_empty()
    }

    fn clear(&self) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.directory).context("can't list the demo's directory")? {
            let entry = entry.context("can't list the demo's directory")?;
            // The lock is ours.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == LOCK || is_ports(&name) {
                continue;
            }
            let path = entry.path();
            let removed =
                if entry.file_type()?.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("can't remove {}", path.display()))?;
        }
        let runtime = self.runtime();
        if runtime.exists() {
            fs::remove_dir_all(&runtime).with_context(|| format!("can't remove {}", runtime.display()))?;
        }
        Ok(())
    }
}

/// Whether a name is that of the directory of a demo with other ports.
fn is_ports(name: &str) -> bool {
    name.parse::<u16>().is_ok()
}

fn entry(line: &str) -> Option<(i32, u64)> {
    let mut words = line.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// When a process was started, in clock ticks since the machine was; none if it is gone.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The state is the first field after the name, the start time the 20th.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Kills a process and its group, if it is still the one that was written down.
fn end(pid: i32, begin: u64) -> bool {
    let runs = || started(pid) == Some(begin);
    let Some(id) = Pid::from_raw(pid).filter(|_| runs()) else { return false };
    // Each is the leader of its group.
    let _ = kill_process_group(id, Signal::KILL);
    let _ = kill_process(id, Signal::KILL);
    let end = Instant::now() + PATIENCE;
    while runs() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    #[test]
    fn the_files_of_a_killed_demo_are_gone_and_those_of_a_running_one_stay() {
        let usual = tempfile::tempdir().unwrap();
        let make = |path: PathBuf| {
            fs::create_dir_all(&path).unwrap();
            let stage = DemoDirectory::enter(&path).unwrap();
            fs::write(demo::environment(&path), "").unwrap();
            (stage, demo::environment(&path))
        };
        let (killed, of_killed) = make(usual.path().to_owned());
        let (_runs, of_running) = make(usual.path().join("4000"));
        drop(killed);
        forget_killed(usual.path());
        assert!(!of_killed.exists() && of_running.exists());
    }

    #[test]
    fn what_a_killed_demo_has_left_is_ended_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let sleep = || Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
        let (mut ours, mut other) = (sleep(), sleep());
        let stage = DemoDirectory::enter(directory.path()).unwrap();
        stage.note("sleep", ours.id()).unwrap();
        // The id is somebody else's now: the start time does not fit.
        let line = format!("{} 1 sleep\n", other.id());
        let mut list = OpenOptions::new().append(true).open(directory.path().join(PROCESSES)).unwrap();
        list.write_all(line.as_bytes()).unwrap();
        fs::write(directory.path().join("rubbish"), "").unwrap();
        drop(stage);

        let stage = DemoDirectory::enter(directory.path()).unwrap();
        assert!(stage.had_leftovers());
        assert!(!ours.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none(), "a process of somebody else was ended");
        assert!(!directory.path().join("rubbish").exists());
        assert!(DemoDirectory::enter(directory.path()).unwrap_err().to_string().contains("runs already"));
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
