//! Process groups: who is in one, how it is recorded, and how it is ended by whoever finds the record.

use std::io;
use std::path::Path;
use std::time::Duration;

use aegir_protocol::record::Remains;
use aegir_service::atomic::{Durability, write_durably};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// The environment variable that marks a child beside dispatcherd with its attempt, `<id>/<n>`. What runs on
/// minions has another one, so that a minion that is this machine is not taken for dispatcherd's host.
pub const MARKER: &str = "AEGIR_CHILD";
/// The `schema` of `child.json`.
const SCHEMA: &str = "aegir.child/0";
/// How often a group that was told to end is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// `child.json`: the process group of the child that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// `aegir.child/0`.
    pub schema: String,
    /// The process group, which is its leader's process id.
    pub group: i32,
    /// When the leader was started, in clock ticks since the machine was (`/proc/PID/stat`, field 22).
    pub started: u64,
    /// The boot in which that was; process ids mean nothing in another.
    pub boot: String,
    /// The value of [`MARKER`] in the environment of its processes.
    pub marker: String,
}

impl Recorded {
    /// The record of a group whose leader runs.
    ///
    /// # Errors
    /// When `/proc` can't be read.
    pub fn of(group: Pid, marker: &str) -> io::Result<Self> {
        let id = group.as_raw_nonzero().get();
        let stat = stat(id).ok_or_else(|| io::Error::other(format!("/proc/{id}/stat can't be read")))?;
        Ok(Self {
            schema: SCHEMA.to_owned(),
            group: id,
            started: stat.started,
            boot: boot()?,
            marker: marker.to_owned(),
        })
    }

    /// What its processes have in their environment.
    #[must_use]
    pub fn marker(&self) -> &str {
        &self.marker
    }

    /// Writes it so that a reader finds all of it or nothing.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = serde_json::to_vec(self)?;
        // The record is for the death of a process; the machine's ends every group with it.
        write_durably(path, &bytes, 0o600, Durability::Nothing)
    }

    /// Reads it; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read or is damaged.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The group, if what has its number now is still what was recorded.
    #[must_use]
    pub fn still_there(&self) -> Option<Pid> {
        let group = Pid::from_raw(self.group)?;
        if boot().ok()? != self.boot {
            return None;
        }
        let same = |id: i32| {
            // A number is not given anew while a group has it, so a leader from the same time is the same;
            // without a leader, the marker tells.
            (id == self.group && stat(id).is_some_and(|stat| stat.started == self.started))
                || marked(id, &self.marker)
        };
        members(group).into_iter().any(same).then_some(group)
    }
}

/// Ends a group, and every process with the marker that has left it: SIGKILL, after which they are waited for. From
/// ansible-core 2.19 on, ansible-playbook's workers have sessions of their own.
pub async fn end(group: Option<Pid>, marker: &str, patience: Duration) -> Remains {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let strays = strays(marker);
        for stray in strays.iter().copied().filter_map(Pid::from_raw) {
            let _ = kill_process(stray, Signal::KILL);
        }
        if strays.is_empty() && group.is_none_or(|group| members(group).is_empty()) {
            return Remains::Gone;
        }
        if Instant::now() >= deadline {
            return Remains::Left;
        }
        sleep(LOOK).await;
    }
}

/// The processes of a group, the ended ones excepted that nobody has waited for.
#[must_use]
pub fn members(group: Pid) -> Vec<i32> {
    // The cheap question first: it is answered with yes for ended ones too.
    if rustix::process::test_kill_process_group(group).is_err_and(|errno| errno == rustix::io::Errno::SRCH) {
        return Vec::new();
    }
    let wanted = group.as_raw_nonzero().get();
    processes().filter(|&id| stat(id).is_some_and(|stat| stat.group == wanted && !stat.ended)).collect()
}

/// Whether any process has the marker.
#[must_use]
pub fn lives(marker: &str) -> bool {
    !strays(marker).is_empty()
}

/// The processes with the marker, in whatever group. An ended one has no environment any more.
fn strays(marker: &str) -> Vec<i32> {
    processes().filter(|&id| marked(id, marker)).collect()
}

fn processes() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn marked(id: i32, marker: &str) -> bool {
    let wanted = format!("{MARKER}={marker}");
    std::fs::read(format!("/proc/{id}/environ"))
        .is_ok_and(|environ| environ.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes()))
}

struct Stat {
    ended: bool,
    group: i32,
    started: u64,
}

/// `/proc/PID/stat` (proc(5)): the name in parentheses may hold anything, the fields after it are counted.
fn stat(id: i32) -> Option<Stat> {
    let text = std::fs::read(format!("/proc/{id}/stat")).ok()?;
    let after_name = memchr::memrchr(b')', &text)?;
    let text = std::str::from_utf8(&text[after_name + 1..]).ok()?;
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X"),
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;

    #[tokio::test]
    async fn a_recorded_group_is_found_and_ended() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 1000 & sleep 1000"])
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_child(&child);
        let recorded = Recorded::of(group, "x/1").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("child.json");
        recorded.write(&path).unwrap();
        let read = Recorded::read(&path).unwrap().unwrap();
        assert_eq!(read, recorded);
        assert_eq!(read.still_there(), Some(group));
        let another = Recorded { started: recorded.started + 1, ..recorded.clone() };
        assert_eq!(another.still_there(), None);
        let earlier = Recorded { boot: "x".to_owned(), ..recorded };
        assert_eq!(earlier.still_there(), None);
        assert_eq!(end(Some(group), "x/1", Duration::from_secs(10)).await, Remains::Gone);
        assert_eq!(read.still_there(), None);
        child.wait().unwrap();
        assert!(Recorded::read(&directory.path().join("other")).unwrap().is_none());
    }

    #[tokio::test]
    async fn what_has_left_the_group_is_ended_by_its_marker() {
        let marker = format!("stray-{}/1", std::process::id());
        let mut stray = std::process::Command::new("sleep")
            .arg("1000")
            .env(MARKER, &marker)
            .process_group(0)
            .spawn()
            .unwrap();
        assert_eq!(end(None, &marker, Duration::from_secs(10)).await, Remains::Gone);
        assert!(!stray.wait().unwrap().success());
    }
}
