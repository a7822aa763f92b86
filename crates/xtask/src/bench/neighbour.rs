//! What a quiet Operation notices of one beside it that prints as fast as it can.

use std::time::Instant;

use super::figure::Figure;
use super::latency::{self, Ticks};
use super::system::BenchSystem;

/// Lines a second of the quiet one.
const RATE: u64 = 10;

pub(super) async fn measure(system: &BenchSystem, seconds: u64) -> anyhow::Result<Vec<Figure>> {
    let noisy = system.submit("flood", "noisy.test", &serde_json::json!({})).await?;
    system.runs(&noisy).await?;
    let (before, begin) = (system.transcript_bytes(&noisy).await?, Instant::now());
    let ticks = Ticks { rate: RATE, count: seconds * RATE };
    let quiet = latency::of(system, "quiet.test", ticks).await?;
    let (after, elapsed) = (system.transcript_bytes(&noisy).await?, begin.elapsed());
    system.cancel(&noisy).await?;
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = (after - before) as f64 / elapsed.as_secs_f64() / 1e6;
    Ok(vec![
        Figure::new("beside a noisy one, write to SSE client, p50", quiet.percentile(0.50), "ms"),
        Figure::new("beside a noisy one, write to SSE client, p99", quiet.percentile(0.99), "ms").goal("50"),
        Figure::new("beside a noisy one, write to SSE client, max", quiet.percentile(1.0), "ms"),
        Figure::new("  the noisy one meanwhile", rate, "MB/s"),
    ])
}
