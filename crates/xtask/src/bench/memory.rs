//! Resident memory of the daemons, as the kernel counts it.

use std::time::Duration;

use anyhow::Context as _;

use super::figure::Figure;
use super::system::BenchSystem;

/// A line of `/proc/PID/status`, in MiB.
pub(super) fn mebibytes(pid: u32, line: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("no such process")?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kibibytes: f64 =
        value.and_then(|text| text.split_whitespace().next()?.parse().ok()).context("no value")?;
    Ok(kibibytes / 1024.0)
}

pub(super) fn pids(system: &mut BenchSystem) -> anyhow::Result<(u32, u32)> {
    let relayd = system.relayd.process().context("relayd does not run")?.id();
    let dispatcherd = system.dispatcherd.process().context("dispatcherd does not run")?.id();
    Ok((relayd, dispatcherd))
}

/// Some seconds after the start, with nothing to do.
pub(super) async fn idle(system: &mut BenchSystem) -> anyhow::Result<Vec<Figure>> {
    let (relayd, dispatcherd) = pids(system)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(vec![
        Figure::new("relayd: idle memory (VmRSS)", mebibytes(relayd, "VmRSS")?, "MiB").goal("15"),
        Figure::new(
            "relayd: idle memory without mapped files (RssAnon)",
            mebibytes(relayd, "RssAnon")?,
            "MiB",
        ),
        Figure::new("dispatcherd: idle memory (VmRSS)", mebibytes(dispatcherd, "VmRSS")?, "MiB").goal("15"),
        Figure::new(
            "dispatcherd: idle memory without mapped files (RssAnon)",
            mebibytes(dispatcherd, "RssAnon")?,
            "MiB",
        ),
    ])
}
