//! What bounds the log line rate: the pipe, the disk and the broker, each alone, with the same bytes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use aegir_amqp::topology::{TRANSCRIPTS, transcripts_queue};
use aegir_amqp::{BrokerConfig, Consume, Outgoing, SessionBuilder, Topology};
use aegir_protocol::limits::{FRONTEND_WINDOW, MAX_RECORD};
use aegir_protocol::name::FrontendName;
use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::figure::Figure;
use super::system::BenchSystem;
use super::throughput::LINE;

/// What a chunk holds under load.
const CHUNK: usize = MAX_RECORD;
/// As many as relayd takes.
const PREFETCH: u16 = 256;
/// As many as dispatcherd lets wait for their confirms.
const UNCONFIRMED: usize = 16;

/// Measures each, and says what share of it `ours`, in MB a second, is.
pub(super) async fn measure(
    system: &BenchSystem,
    directory: &Path,
    lines: u64,
    ours: f64,
) -> anyhow::Result<Vec<Figure>> {
    let file = directory.join("disk-probe");
    let pipe = tokio::task::spawn_blocking(move || pipe(lines)).await??;
    let disk = tokio::task::spawn_blocking(move || disk(&file, lines * LINE)).await??;
    let broker = broker(system.broker.url(), lines * LINE).await?;
    let share = |limit: f64| ours / limit * 100.0;
    Ok(vec![
        Figure::new("the child alone, into a reader that throws away", pipe, "MB/s"),
        Figure::new("  our rate as a share of it", share(pipe), "%"),
        Figure::new("the disk alone, a sync after each 256 KiB", disk, "MB/s"),
        Figure::new("  our rate as a share of it", share(disk), "%"),
        Figure::new("the broker alone, confirmed and consumed", broker, "MB/s"),
        Figure::new("  our rate as a share of it", share(broker), "%"),
    ])
}

/// MB a second.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn rate(bytes: u64, begin: Instant) -> f64 {
    bytes as f64 / begin.elapsed().as_secs_f64() / 1e6
}

/// The program that the role's Task runs.
fn program() -> anyhow::Result<Vec<String>> {
    let manifest: serde_json::Value = yaml_serde::from_str(include_str!("roles/bench/meta/aegir.yml"))?;
    let words =
        manifest["tasks"]["lines"]["shell"]["argv"].as_array().context("the role has no such Task")?;
    Ok(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
}

fn pipe(lines: u64) -> anyhow::Result<f64> {
    let words = program()?;
    let begin = Instant::now();
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .arg(lines.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", words[0]))?;
    let mut output = child.stdout.take().context("the child has no output")?;
    let (mut buffer, mut bytes) = (vec![0; 64 * 1024], 0);
    loop {
        match output.read(&mut buffer)? {
            0 => break,
            count => bytes += count as u64,
        }
    }
    let rate = rate(bytes, begin);
    ensure!(child.wait()?.success() && bytes == lines * LINE, "the child printed {bytes} bytes");
    Ok(rate)
}

fn disk(path: &Path, bytes: u64) -> anyhow::Result<f64> {
    let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let piece = vec![b'x'; CHUNK];
    let pieces = bytes / CHUNK as u64;
    let begin = Instant::now();
    for _ in 0..pieces {
        file.write_all(&piece)?;
        file.sync_data()?;
    }
    let rate = rate(pieces * CHUNK as u64, begin);
    std::fs::remove_file(path)?;
    Ok(rate)
}

async fn broker(url: &str, bytes: u64) -> anyhow::Result<f64> {
    let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
    let frontend: FrontendName = "limits".parse()?;
    let mut builder =
        SessionBuilder::new(BrokerConfig::from_url(url), "bench", Topology::of_frontend(&frontend));
    let (mut deliveries, _) = builder.consume(Consume::queue(transcripts_queue(&frontend), PREFETCH));
    let link = builder.start(cancel.clone(), &tracker);
    ensure!(link.up().await, "the broker is not there");
    let (publisher, body) = (link.publisher(), Bytes::from(vec![b'x'; CHUNK]));
    let count = bytes / CHUNK as u64;
    // What is published and not yet consumed, as receipts bound it.
    let room = Semaphore::new(usize::try_from(FRONTEND_WINDOW)? / CHUNK);
    let begin = Instant::now();
    let publish = async {
        let mut confirms = FuturesUnordered::new();
        for _ in 0..count {
            room.acquire().await?.forget();
            let outgoing = Outgoing::new(TRANSCRIPTS, frontend.as_str(), body.clone());
            confirms.push(publisher.send(outgoing).await?.confirmed());
            if confirms.len() == UNCONFIRMED {
                confirms.next().await.transpose()?;
            }
        }
        while confirms.next().await.transpose()?.is_some() {}
        anyhow::Ok(())
    };
    let consume = async {
        for _ in 0..count {
            deliveries.recv().await.context("the session has ended")?.ack().await?;
            room.add_permits(1);
        }
        anyhow::Ok(())
    };
    tokio::try_join!(publish, consume)?;
    let rate = rate(count * CHUNK as u64, begin);
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
    Ok(rate)
}
