//! Lines a second, from a child's stdout until they are committed in relayd's store.

use std::time::Instant;

use aegir_client::download::Bytes;
use anyhow::ensure;
use serde_json::json;

use super::figure::Figure;
use super::memory::{mebibytes, pids};
use super::system::BenchSystem;

/// Bytes of a line, its newline included.
pub(super) const LINE: u64 = 100;

/// Also gives the rate in MB a second.
pub(super) async fn measure(system: &mut BenchSystem, lines: u64) -> anyhow::Result<(Vec<Figure>, f64)> {
    // A tenth first: memory that grows with the length of a log shows as a difference.
    run(system, lines / 10, "short.test").await?;
    let (relayd, dispatcherd) = pids(system)?;
    let before = (mebibytes(relayd, "VmHWM")?, mebibytes(dispatcherd, "VmHWM")?);
    let seconds = run(system, lines, "long.test").await?;
    let after = (mebibytes(relayd, "VmHWM")?, mebibytes(dispatcherd, "VmHWM")?);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = lines as f64;
    let rate = count / seconds * 100.0 / 1e6;
    let figures = vec![
        Figure::new("log lines, stdout to committed", count / seconds, "lines/s").goal("150000"),
        Figure::new("  the same in bytes", rate, "MB/s"),
        Figure::new("relayd: peak memory after a tenth of the lines", before.0, "MiB"),
        Figure::new("relayd: peak memory after all of them", after.0, "MiB").goal("no more"),
        Figure::new("dispatcherd: peak memory after a tenth of the lines", before.1, "MiB"),
        Figure::new("dispatcherd: peak memory after all of them", after.1, "MiB").goal("no more"),
    ];
    Ok((figures, rate))
}

/// Submits, waits until all is committed, and gives the seconds in between. What arrived is counted.
async fn run(system: &BenchSystem, lines: u64, site: &str) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let id = system.submit("lines", site, &json!({"count": lines})).await?;
    system.succeeded(&id).await?;
    let seconds = begin.elapsed().as_secs_f64();
    let path = format!("/api/v1/operations/{id}/output?task=1&stream=stdout");
    let mut bytes = 0;
    let count = |piece: &[u8]| {
        bytes += piece.len() as u64;
        anyhow::Ok(())
    };
    system.relayd.client().download(&mut Bytes::new(path, count)).await?;
    ensure!(bytes == lines * LINE, "{bytes} bytes arrived of {}", lines * LINE);
    Ok(seconds)
}
