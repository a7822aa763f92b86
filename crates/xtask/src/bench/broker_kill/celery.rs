//! The peer: Celery from PyPI, in a virtual environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use aegir_testkit::{Broker, Process};
use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use super::verdict::{STREAM, Verdict};
use crate::workspace;

const VERSION: &str = "celery==5.6.2";
/// How long worker and producer may take to start.
const START: Duration = Duration::from_secs(60);
/// How long the producer may take for its 20 seconds, with all that it waits for meanwhile.
const PRODUCED: Duration = Duration::from_secs(180);
/// Nothing more comes after so long without a line.
const SILENCE: Duration = Duration::from_secs(15);

/// An installation.
pub(super) struct Celery {
    environment: PathBuf,
}

impl Celery {
    /// Installs it below `target/`, once.
    pub(super) fn install() -> anyhow::Result<Self> {
        let environment = workspace::target().join("peer/celery");
        let python = environment.join("bin/python");
        if !environment.join("bin/celery").exists() {
            let mut make = Command::new("/usr/bin/python3");
            make.args(["-m", "venv"]).arg(&environment);
            workspace::run(make).context("no virtual environment: apt-get install python3-venv")?;
            let mut install = Command::new(python);
            install.args(["-m", "pip", "install", "--quiet", VERSION]);
            workspace::run(install)?;
        }
        Ok(Self { environment })
    }

    fn command(&self, program: &str, directory: &Path, url: &str, confirm: bool) -> Command {
        let mut command = Command::new(self.environment.join("bin").join(program));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/broker_kill");
        command
            .env("PYTHONPATH", script)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("STREAM_BROKER", url)
            .env("STREAM_CONFIRM", if confirm { "1" } else { "" })
            .env("STREAM_ARRIVED", directory.join("arrived"));
        command
    }

    /// Starts worker and producer; the stream has begun when this is over.
    pub(super) async fn start(
        &self,
        directory: &Path,
        broker: &mut Broker,
        confirm: bool,
    ) -> anyhow::Result<CeleryStream> {
        let arrived = directory.join("arrived");
        let url = broker.url().to_owned();
        let mut worker = self.command("celery", directory, &url, confirm);
        // One process: two would change the order of lines without any fault.
        worker.args(["--app", "stream", "worker", "--concurrency", "1"]);
        let mut worker = Process::spawn("celery", worker, &directory.join("worker.log"))?;
        let consumes = async || {
            let queues =
                broker.control(&["list_queues", "--no-table-headers", "name", "consumers"]).await.ok()?;
            queues.lines().any(|line| line == "celery\t1").then_some(())
        };
        worker.until("a consumer of its queue", START, consumes).await?;
        let mut producer = self.command("python", directory, &url, confirm);
        producer.args(["-m", "stream", &STREAM.rate.to_string(), &STREAM.count.to_string()]);
        let mut producer = Process::spawn("producer", producer, &directory.join("producer.log"))?;
        let first = async || std::fs::metadata(&arrived).ok().filter(|file| file.len() > 0).map(drop);
        producer.until("the first line", START, first).await?;
        Ok(CeleryStream { arrived, producer, _worker: worker })
    }
}

/// A stream that runs. Dropping it ends it.
pub(super) struct CeleryStream {
    arrived: PathBuf,
    producer: Process,
    _worker: Process,
}

impl CeleryStream {
    /// Waits until the producer has ended and nothing more arrives, and counts; also the lines that were refused
    /// to the producer.
    pub(super) async fn verdict(&mut self) -> anyhow::Result<(Verdict, u64)> {
        let status = self.producer.wait(PRODUCED).await?;
        let log = self.producer.log_tail();
        ensure!(status.success(), "the producer failed ({status}):\n{log}");
        let refused = log.lines().rev().find_map(|line| line.strip_prefix("refused: ")?.parse().ok());
        let refused =
            refused.with_context(|| format!("the producer does not say what was refused:\n{log}"))?;
        let (mut length, mut since) = (0, Instant::now());
        while since.elapsed() < SILENCE {
            sleep(Duration::from_millis(100)).await;
            let now = std::fs::metadata(&self.arrived)?.len();
            if now != length {
                (length, since) = (now, Instant::now());
            }
        }
        let text = std::fs::read_to_string(&self.arrived)?;
        let numbers: Result<Vec<u64>, _> = text.lines().map(str::parse).collect();
        Ok((Verdict::of(STREAM.count, numbers.context("a line arrived torn")?), refused))
    }
}
