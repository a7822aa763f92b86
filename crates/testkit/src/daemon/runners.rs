//! Runners outlive their dispatcherd by design; a test or demo that ends has to end them itself.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A process as `/proc` shows it.
struct Seen {
    pid: i32,
    parent: i32,
    session: i32,
}

/// Kills every runner whose journal lies in this state directory, with all that it has started, and waits until
/// they are gone.
pub fn end_runners(state: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let doomed = doomed(state);
        if doomed.is_empty() || Instant::now() > end {
            return;
        }
        for pid in doomed.into_iter().filter_map(Pid::from_raw) {
            // It may be gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runners, their descendants, and what is left in a runner's session or works in its directory.
fn doomed(state: &Path) -> Vec<i32> {
    let seen = processes();
    let mut doomed: Vec<i32> = seen
        .iter()
        .filter(|seen| is_runner(seen.pid, state) || works_in(seen.pid, state))
        .map(|s| s.pid)
        .collect();
    let mut count = 0;
    while count != doomed.len() {
        count = doomed.len();
        for process in &seen {
            let related = doomed.contains(&process.parent) || doomed.contains(&process.session);
            if related && !doomed.contains(&process.pid) {
                doomed.push(process.pid);
            }
        }
    }
    doomed
}

fn processes() -> Vec<Seen> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(look_at).collect()
}

fn look_at(pid: i32) -> Option<Seen> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, process group, session.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let session = fields.nth(1)?.parse().ok()?;
    (state != "Z").then_some(Seen { pid, parent, session })
}

fn is_runner(pid: i32, state: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let runner = words.get(1).is_some_and(|word| *word == b"runner");
    runner && words[2..].iter().any(|word| word.starts_with(state.as_os_str().as_bytes()))
}

fn works_in(pid: i32, state: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|path| path.starts_with(state.join("operations")))
}
