//! How often an Operation waits for the disk, and how long this disk takes.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;

use super::figure::Figure;
use super::memory::pids;
use super::system::BenchSystem;

/// How many Operations are traced, one after the other.
const OPERATIONS: u32 = 20;
/// How many writes of 4 KiB are synced.
const WRITES: u32 = 100;

pub(super) async fn measure(system: &mut BenchSystem, directory: &Path) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![Figure::new("fdatasync of 4 KiB on this disk", disk(directory)?, "ms")];
    let summary = directory.join("syncs");
    let (relayd, dispatcherd) = pids(system)?;
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-U", "calls,name", "-e", "trace=fsync,fdatasync", "-o"]).arg(&summary);
    strace.args(["-p", &relayd.to_string(), "-p", &dispatcherd.to_string()]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut strace) = strace.spawn() else {
        println!("strace is not installed, so syncs are not counted: apt-get install strace");
        return Ok(figures);
    };
    // It is attached once a traced process says who traces it.
    let attached = format!("TracerPid:\t{}\n", strace.id());
    let end = Instant::now() + std::time::Duration::from_secs(10);
    let traced =
        |pid| std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|s| s.contains(&attached));
    while !(traced(relayd) && traced(dispatcherd)) && Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    for number in 0..OPERATIONS {
        let id = system.submit("nothing", &format!("sync-{number}.test"), &serde_json::json!({})).await?;
        system.succeeded(&id).await?;
    }
    let pid = rustix::process::Pid::from_child(&strace);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).context("strace has ended")?;
    strace.wait().context("strace can't be waited for")?;
    let text = std::fs::read_to_string(&summary).context("strace wrote no summary")?;
    let calls = text.lines().filter(|line| line.contains("sync"));
    let calls: u32 = calls.filter_map(|line| line.split_whitespace().next()?.parse::<u32>().ok()).sum();
    figures.push(Figure::new(
        "syncs for an Operation (relayd, dispatcherd, runner)",
        f64::from(calls) / f64::from(OPERATIONS),
        "",
    ));
    Ok(figures)
}

/// The mean time of a small synced write, in milliseconds.
fn disk(directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("sync-probe");
    let mut file = std::fs::File::create(&path).context("cannot write the probe")?;
    let begin = Instant::now();
    for _ in 0..WRITES {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3 / f64::from(WRITES))
}
