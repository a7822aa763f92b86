//! Operations a second, of a program that does nothing.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;

use super::figure::Figure;
use super::system::BenchSystem;

/// How many submissions are under way at once.
const CLIENTS: usize = 8;

pub(super) async fn measure(system: &BenchSystem, count: usize) -> anyhow::Result<Vec<Figure>> {
    let begin = Instant::now();
    let sites: Vec<String> = (0..count).map(|number| format!("nothing-{number}.test")).collect();
    let variables = json!({});
    let ids: Vec<String> = stream::iter(&sites)
        .map(|site| system.submit("nothing", site, &variables))
        .buffer_unordered(CLIENTS)
        .try_collect()
        .await?;
    let submitted = begin.elapsed().as_secs_f64();
    // They end in about the order of their ids, so the wait for the last is the wait for all.
    for id in ids.iter().rev() {
        system.succeeded(id).await?;
    }
    let ended = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = count as f64;
    Ok(vec![
        Figure::new("Operations (`true`), submitted and ended", count / ended, "Operations/s").goal("100"),
        Figure::new("Operations, submitted and committed", count / submitted, "Operations/s"),
    ])
}
