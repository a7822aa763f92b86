//! Runners outlive their dispatcherd by design, and SSH connections outlive runners; a test or demo that ends
//! has to end them itself.

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

/// Kills every runner whose journal lies in this state directory, with all that it has started, and every SSH
/// connection whose socket lies in this runtime directory, and waits until they are gone.
pub fn end_runners(state: &Path, runtime: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let doomed = doomed(state, runtime);
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
fn doomed(state: &Path, runtime: &Path) -> Vec<i32> {
    let seen = processes();
    let ours = |pid| is_runner(pid, state) || works_in(pid, state) || is_connection(pid, runtime);
    let mut doomed: Vec<i32> = seen.iter().map(|seen| seen.pid).filter(|pid| ours(*pid)).collect();
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

fn command_line(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn is_runner(pid: i32, state: &Path) -> bool {
    let line = command_line(pid);
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let runner = words.get(1).is_some_and(|word| *word == b"runner");
    runner && words[2..].iter().any(|word| word.starts_with(state.as_os_str().as_bytes()))
}

fn works_in(pid: i32, state: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|path| path.starts_with(state.join("operations")))
}

/// `ssh: /runtime/…/socket [mux]`, as an SSH master calls itself, or an `ssh` that was given such a path.
fn is_connection(pid: i32, runtime: &Path) -> bool {
    let line = command_line(pid);
    let mut path = runtime.as_os_str().as_bytes().to_vec();
    path.push(b'/');
    line.starts_with(b"ssh") && line.windows(path.len()).any(|part| part == path)
}
