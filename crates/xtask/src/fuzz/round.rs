//! One queue's share.

use std::fmt;
use std::time::{Duration, Instant};

use aegir_amqp::topology::{DEAD, control_queue, operations_queue, requests_queue, transcripts_queue};
use aegir_testkit::{Broker, Dispatcherd, Relayd};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::corpus::{FuzzTarget, Parked};
use super::mutate::message;
use super::wire::Wire;
use crate::random::Random;

/// How many messages are published before their confirms are waited for.
const WINDOW: usize = 500;
/// How many may wait in a queue before more are published.
const BACKLOG: u64 = 5_000;
/// How long everything that waits may take to be handled.
const DEADLINE: Duration = Duration::from_secs(300);
/// How much more memory a daemon may have at the end of a round than after its first tenth, in bytes: what an
/// allocator keeps of a few large messages. A leak of a hundred bytes a message shows in a round of a million.
const GROWTH: u64 = 64 << 20;

pub(super) struct FuzzSystem {
    pub(super) broker: Broker,
    pub(super) relayd: Relayd,
    pub(super) dispatcherd: Dispatcherd,
}

/// What a round gave.
pub(super) struct Figures {
    target: FuzzTarget,
    published: u64,
    unreadable: u64,
    dead: u64,
    memory: [u64; 2],
    seconds: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, published, unreadable, dead, memory: [relayd, dispatcherd], seconds } = self;
        let (name, relayd, dispatcherd) = (format!("{target:?}"), relayd >> 20, dispatcherd >> 20);
        write!(
            f,
            "{name:<12} {published:>10}  {unreadable:>10}  {dead:>12}  {relayd:>9}  {dispatcherd:>14}  {seconds:>7.0}"
        )
    }
}

impl FuzzSystem {
    /// Publishes messages on a queue, waits until nothing is left in it, and counts what became of them.
    pub(super) async fn round(
        &mut self,
        target: FuzzTarget,
        messages: usize,
        random: &mut Random,
    ) -> anyhow::Result<Figures> {
        let begin = Instant::now();
        let mut wire = Wire::connect(self.broker.port()?)?;
        let before = self.kept().await?;
        let (mut published, mut unreadable, mut purged) = (0, 0, 0);
        let mut early = None;
        let mut left = messages;
        while left > 0 {
            let batch: Vec<_> = (0..WINDOW.min(left)).map(|_| message(target, random)).collect();
            left -= batch.len();
            let taken = wire.publish(target.exchange(), target.routing_key(), &batch)?;
            for (message, _) in batch.iter().zip(taken).filter(|(_, taken)| *taken) {
                published += 1;
                unreadable += u64::from(!target.reads(message.content_type.as_deref(), &message.body));
            }
            self.wait_for_room(target, &mut wire).await?;
            if target == FuzzTarget::Status {
                // relayd's own queue for heartbeats belongs to its connection; only its dead letters can be counted.
                let end = Instant::now() + DEADLINE;
                while purged + wire.depth(DEAD)? + self.kept().await? - before + BACKLOG < unreadable {
                    ensure!(Instant::now() < end, "heartbeats are not read");
                    sleep(Duration::from_millis(20)).await;
                }
            }
            if wire.depth(DEAD)? > BACKLOG {
                purged += wire.purge(DEAD)?;
            }
            self.daemons_run()?;
            if early.is_none() && left <= messages / 10 * 9 {
                early = Some(self.memory()?);
            }
        }
        self.drained().await?;
        let fits = |dead: u64| match target.parked() {
            Parked::All => dead == published,
            Parked::Unreadable => dead == unreadable,
            Parked::UnreadableAndMore => dead >= unreadable,
        };
        let end = Instant::now() + DEADLINE;
        // A message of the last ones may be between two places still.
        let dead = loop {
            let dead = purged + wire.depth(DEAD)? + self.kept().await? - before;
            if fits(dead) {
                break dead;
            }
            ensure!(
                Instant::now() < end,
                "{published} were published, {unreadable} of them can't be read, and {dead} are dead letters"
            );
            sleep(Duration::from_millis(100)).await;
        };
        self.daemons_run()?;
        let memory = self.memory()?;
        for (early, late) in early.unwrap_or(memory).into_iter().zip(memory) {
            ensure!(late < early + GROWTH, "memory grew from {early} to {late} bytes");
        }
        wire.purge(DEAD)?;
        Ok(Figures { target, published, unreadable, dead, memory, seconds: begin.elapsed().as_secs_f64() })
    }

    async fn wait_for_room(&self, target: FuzzTarget, wire: &mut Wire) -> anyhow::Result<()> {
        let Some(queue) = queue(target)? else { return Ok(()) };
        let end = Instant::now() + DEADLINE;
        while wire.depth(&queue)? > BACKLOG {
            ensure!(Instant::now() < end, "{queue} is not emptied");
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until no queue but the dead letters' holds a message, unsettled ones included.
    async fn drained(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let list = self.broker.control(&["list_queues", "name", "messages"]).await?;
            let full: Vec<_> = list
                .lines()
                .filter(|line| {
                    line.starts_with("aegir.") && !line.starts_with(DEAD) && !line.ends_with("\t0")
                })
                .collect();
            if full.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < end, "not emptied: {full:?}");
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// How many dead letters relayd keeps.
    async fn kept(&self) -> anyhow::Result<u64> {
        let (_, list) = self.relayd.get("/api/v1/dead?limit=1").await?;
        list["kept"]["count"].as_u64().with_context(|| list.to_string())
    }

    fn daemons_run(&mut self) -> anyhow::Result<()> {
        for (name, process) in
            [("relayd", self.relayd.process()), ("dispatcherd", self.dispatcherd.process())]
        {
            let status = process.context("it does not run")?.status()?;
            ensure!(status.is_none(), "{name} has ended: {status:?}");
        }
        Ok(())
    }

    /// The resident bytes of both daemons.
    fn memory(&mut self) -> anyhow::Result<[u64; 2]> {
        let relayd = self.relayd.process().context("relayd does not run")?.id();
        let dispatcherd = self.dispatcherd.process().context("dispatcherd does not run")?.id();
        Ok([resident(relayd)?, resident(dispatcherd)?])
    }

    /// An Operation without Tasks goes to a node and comes back.
    pub(super) async fn operation_goes_through(&self) -> anyhow::Result<()> {
        let end = Instant::now() + DEADLINE;
        let mut last = Value::Null;
        while Instant::now() < end {
            let (_, report) = self.relayd.post("/api/v1/check", &json!({})).await?;
            if report["ok"] == true {
                return Ok(());
            }
            last = report;
            sleep(Duration::from_millis(200)).await;
        }
        bail!("no Operation goes through: {last:#}")
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.dispatcherd.stop().await?;
        self.relayd.stop().await?;
        self.broker.stop().await
    }
}

fn queue(target: FuzzTarget) -> anyhow::Result<Option<String>> {
    Ok(match target {
        FuzzTarget::Requests => Some(requests_queue(&"main".parse()?)),
        FuzzTarget::Operations => Some(operations_queue(&"main".parse()?)),
        FuzzTarget::Transcripts => Some(transcripts_queue(&"main".parse()?)),
        FuzzTarget::Control => Some(control_queue(&"node1".parse()?)),
        FuzzTarget::Status | FuzzTarget::Dead => None,
    })
}

fn resident(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
