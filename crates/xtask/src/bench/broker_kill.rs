//! The same stream of lines through this system and through Celery, with the broker killed in the middle.
//!
//! 400 lines a second for 20 seconds; SIGKILL to the broker after 6 seconds, started again after 8. Each line
//! carries its number, so that what arrives can be judged.

mod celery;
mod verdict;

use std::path::Path;
use std::time::Duration;

use aegir_testkit::Broker;
use anyhow::Context as _;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::system::BenchSystem;
use verdict::{STREAM, Verdict};

const KILLED: Duration = Duration::from_secs(6);
const BACK: Duration = Duration::from_secs(8);

#[derive(Debug, Serialize)]
struct Row {
    system: &'static str,
    verdict: Verdict,
    /// Of the lost ones, those that the sender was told about.
    refused: u64,
}

/// Runs every system, prints a table and writes it as JSON.
pub(super) async fn run(directory: &Path, json: &Path) -> anyhow::Result<()> {
    let celery = celery::Celery::install()?;
    let verdict = here(&directory.join("aegir")).await?;
    let mut rows = vec![Row { system: "relayd and dispatcherd", verdict, refused: 0 }];
    for (system, confirm) in [("Celery 5.6.2", false), ("Celery 5.6.2, confirm_publish", true)] {
        let directory = directory.join(if confirm { "celery-confirmed" } else { "celery" });
        let mut broker = Broker::start(&directory.join("broker")).await?;
        let mut stream = celery.start(&directory, &mut broker, confirm).await?;
        kill_and_restart(&mut broker).await?;
        let (verdict, refused) = stream.verdict().await?;
        rows.push(Row { system, verdict, refused });
        broker.stop().await?;
    }
    let head = ("sent", "lost", "told to the sender", "repeated", "out of order");
    println!("{:<30} {:>6} {:>6} {:>20} {:>9} {:>13}", "", head.0, head.1, head.2, head.3, head.4);
    for Row { system, verdict, refused } in &rows {
        let Verdict { sent, lost, repeated, out_of_order } = verdict;
        println!("{system:<30} {sent:>6} {lost:>6} {refused:>20} {repeated:>9} {out_of_order:>13}");
    }
    let text = serde_json::to_vec_pretty(&rows)?;
    std::fs::write(json, text).with_context(|| format!("cannot write {}", json.display()))?;
    println!("written to {}", json.display());
    Ok(())
}

/// From the moment at which the stream begins.
async fn kill_and_restart(broker: &mut Broker) -> anyhow::Result<()> {
    let begin = Instant::now();
    sleep_until(begin + KILLED).await;
    broker.kill().await?;
    sleep_until(begin + BACK).await;
    broker.restart().await
}

async fn here(directory: &Path) -> anyhow::Result<Verdict> {
    let mut system = BenchSystem::start(directory).await?;
    // RabbitMQ 3.10 forgets a quorum queue that is only seconds old when it is killed.
    system.broker.sync().await?;
    let id = system.submit("ticks", "stream.test", &STREAM.variables()).await?;
    system.runs(&id).await?;
    kill_and_restart(&mut system.broker).await?;
    system.succeeded(&id).await?;
    let path = format!("/api/v1/operations/{id}/output?task=1&stream=stdout");
    let printed = system.relayd.client().bytes(&path).await?;
    let numbers: Option<Vec<u64>> =
        std::str::from_utf8(&printed)?.lines().map(|line| line.split_once(' ')?.0.parse().ok()).collect();
    system.stop().await?;
    Ok(Verdict::of(STREAM.count, numbers.context("a line arrived torn")?))
}
