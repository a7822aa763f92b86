//! How long a line takes from the child's write until a client of the SSE stream has it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::Figure;
use super::stage::Stage;

pub(super) async fn measure(stage: &Stage, lines: u64) -> anyhow::Result<Vec<Figure>> {
    let id = stage.submit("ticks", "ticks.test", lines).await?;
    let path = format!("/api/v1/operations/{id}/events");
    let request = stage.relayd.request(reqwest::Method::GET, &path)?;
    let mut answer = request.timeout(Duration::from_secs(600)).send().await?.error_for_status()?;
    let (mut buffer, mut latencies) = (Vec::new(), Vec::new());
    while let Some(piece) = answer.chunk().await? {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        buffer.extend_from_slice(&piece);
        while let Some(end) = buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            latencies.extend(times(&line).map(|time| now.as_nanos() as f64 - time));
        }
    }
    ensure!(latencies.len() as u64 == lines, "{} of {lines} lines arrived", latencies.len());
    latencies.sort_by(f64::total_cmp);
    let percentile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] / 1e6;
    Ok(vec![
        Figure::new("write to SSE client at 200 lines/s, p50", percentile(0.50), "ms").goal("5"),
        Figure::new("write to SSE client at 200 lines/s, p99", percentile(0.99), "ms"),
        Figure::new("write to SSE client at 200 lines/s, max", percentile(1.0), "ms"),
    ])
}

/// The times that a line of the stream carries, if it is the data of an `output` record.
fn times(line: &[u8]) -> impl Iterator<Item = f64> {
    let record: Option<Value> =
        line.strip_prefix(b"data:").and_then(|data| serde_json::from_slice(data).ok());
    let text = record.filter(|record| record["kind"] == "output");
    let text = text.and_then(|record| Some(record["body"]["text"].as_str()?.to_owned())).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<f64>>().into_iter()
}
