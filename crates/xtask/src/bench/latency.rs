//! How long a line takes from the child's write until a client of the SSE stream has it.

use std::time::{SystemTime, UNIX_EPOCH};

use aegir_client::follow::{FollowUpdate, Start};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::figure::Figure;
use super::system::BenchSystem;

/// A program that prints its number and the time, at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    /// Lines a second.
    pub(super) rate: u64,
    /// How many lines.
    pub(super) count: u64,
}

impl Ticks {
    pub(super) fn variables(self) -> Value {
        json!({"count": self.count, "rate": self.rate})
    }
}

/// What each line took, in nanoseconds, the shortest first.
pub(super) struct Latencies(Vec<f64>);

impl Latencies {
    /// In milliseconds: so long or shorter took this share of all lines.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn percentile(&self, share: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * share) as usize] / 1e6
    }
}

pub(super) async fn measure(system: &BenchSystem, seconds: u64) -> anyhow::Result<Vec<Figure>> {
    let taken = of(system, "ticks.test", Ticks { rate: 200, count: seconds * 200 }).await?;
    Ok(vec![
        Figure::new("write to SSE client at 200 lines/s, p50", taken.percentile(0.50), "ms").goal("5"),
        Figure::new("write to SSE client at 200 lines/s, p99", taken.percentile(0.99), "ms"),
        Figure::new("write to SSE client at 200 lines/s, max", taken.percentile(1.0), "ms"),
    ])
}

/// Runs the program and listens until its end.
pub(super) async fn of(system: &BenchSystem, site: &str, ticks: Ticks) -> anyhow::Result<Latencies> {
    let id = system.submit("ticks", site, &ticks.variables()).await?;
    let mut events = system.relayd.client().follow(id.parse()?, Start::default()).await?;
    let mut taken = Vec::new();
    loop {
        let update = events.next().await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        match update {
            FollowUpdate::Record { line, .. } => {
                taken.extend(times(&line).into_iter().map(|time| now.as_nanos() as f64 - time));
            }
            FollowUpdate::Away(why) => bail!("the stream broke: {why}"),
            FollowUpdate::End(_) => break,
            FollowUpdate::State(_) | FollowUpdate::CaughtUp | FollowUpdate::Back => {}
        }
    }
    ensure!(taken.len() as u64 == ticks.count, "{} of {} lines arrived", taken.len(), ticks.count);
    taken.sort_by(f64::total_cmp);
    Ok(Latencies(taken))
}

/// The times that a record carries, if it is `output`.
fn times(record: &[u8]) -> Vec<f64> {
    let record: Option<Value> = serde_json::from_slice(record).ok();
    let text = record.filter(|record| record["kind"] == "output");
    let text = text.and_then(|record| Some(record["body"]["text"].as_str()?.to_owned())).unwrap_or_default();
    text.lines().filter_map(|line| line.split_once(' ')?.1.parse().ok()).collect()
}
