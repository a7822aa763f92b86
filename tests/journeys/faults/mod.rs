//! The broker and the network fail under running Operations: both daemons say why, and everything catches up.

mod alarms;
mod flow;
mod loopback_probe;
mod network;
mod process;
mod queues;
mod timeouts;

use std::time::{Duration, Instant};

use aegir_testkit::Cluster;
use aegir_testkit::cluster::{ClusterBuilder, Network};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::restarts;
use crate::world::World;

/// How long a fault may take to be shown, or to be over. Two heartbeats are four seconds here; the rest is for
/// machines that do much else.
const DEADLINE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);

/// Where something is the matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Relayd,
    Dispatcherd,
}

const BOTH: [Where; 2] = [Where::Relayd, Where::Dispatcherd];

/// Everything, with a network that can fail and heartbeats that are quick.
async fn world(builder: ClusterBuilder) -> Result<World> {
    let heartbeat = "heartbeat_seconds = 2";
    let builder = builder
        .faulty_network()
        .relayd(move |relayd| relayd.broker_setting(heartbeat))
        .dispatcherd(move |dispatcherd| dispatcherd.broker_setting(heartbeat));
    let mut world = World::of(builder).await?;
    // RabbitMQ 3.10 forgets a quorum queue that is only seconds old when it is killed.
    world.cluster.broker.sync().await?;
    Ok(world)
}

/// An Operation that has printed something and goes on for three seconds.
async fn running(world: &World) -> Result<String> {
    restarts::started(world, &restarts::sleep(3)).await
}

async fn is_whole(world: &World, id: &str) -> Result<()> {
    restarts::is_whole(world, id, 3).await
}

impl World {
    fn network(&self) -> Result<&Network> {
        self.cluster.network.as_ref().context("there is no network to disturb")
    }

    /// What a daemon says about the broker; empty when all is well.
    async fn trouble(&self, place: Where) -> Result<String> {
        match place {
            Where::Relayd => {
                let answer = self.client.get("/readyz").await?;
                let ready = answer.status.is_success();
                let text = String::from_utf8(answer.body.into())?;
                Ok(if ready { String::new() } else { text })
            }
            Where::Dispatcherd => {
                let status = self.cluster.dispatcherd.status();
                Ok(status.split_once("; ").map(|(_, trouble)| trouble.to_owned()).unwrap_or_default())
            }
        }
    }

    /// Waits until a daemon shows one of these causes.
    async fn shows(&self, place: Where, causes: &[&str]) -> Result<()> {
        let begin = Instant::now();
        loop {
            let trouble = self.trouble(place).await?;
            if causes.iter().any(|cause| trouble.contains(cause)) {
                println!("{place:?} after {:?}: {}", begin.elapsed(), trouble.trim());
                return Ok(());
            }
            if begin.elapsed() > DEADLINE {
                bail!("{place:?} shows {trouble:?} and none of {causes:?}\n{}", self.logs());
            }
            sleep(INTERVAL).await;
        }
    }

    /// Waits until both daemons show one of these causes, and `aegir check` does. The watchdog is fed meanwhile.
    async fn both_show(&self, causes: &[&str]) -> Result<()> {
        for place in BOTH {
            self.shows(place, causes).await?;
        }
        let (status, report) = self.cluster.relayd.post("/api/v1/check", &json!({})).await?;
        let hops = report["hops"].as_array().context("no hops")?;
        let closed = hops.last().context("no hop")?;
        ensure!(status == 200 && report["ok"] == false && closed["name"] == "broker", "{report:#}");
        let told = closed["message"].as_str().unwrap_or_default();
        ensure!(causes.iter().any(|cause| told.contains(cause)), "{report:#}");
        self.watchdogs_are_fed().await
    }

    /// Waits until both daemons have fed the watchdog again, and once more.
    async fn watchdogs_are_fed(&self) -> Result<()> {
        let fed = || [self.cluster.relayd.watchdogs(), self.cluster.dispatcherd.watchdogs()];
        let (before, begin) = (fed(), Instant::now());
        while !fed().iter().zip(before).all(|(now, before)| *now >= before + 2) {
            ensure!(begin.elapsed() < DEADLINE, "the watchdog is not fed: {before:?} {:?}", fed());
            sleep(INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until neither daemon has anything to complain about.
    async fn is_well(&self) -> Result<()> {
        let begin = Instant::now();
        for place in BOTH {
            loop {
                let trouble = self.trouble(place).await?;
                if trouble.is_empty() {
                    break;
                }
                ensure!(begin.elapsed() < DEADLINE, "{place:?} still shows {trouble:?}\n{}", self.logs());
                sleep(INTERVAL).await;
            }
        }
        Ok(())
    }

    /// Waits until a daemon's log says something; an outage may be over before it can be seen otherwise.
    async fn logs_show(&self, place: Where, causes: &[&str]) -> Result<()> {
        let begin = Instant::now();
        loop {
            let log = match place {
                Where::Relayd => self.cluster.relayd.log_tail(),
                Where::Dispatcherd => self.cluster.dispatcherd.log_tail(),
            };
            if causes.iter().any(|cause| log.contains(cause)) {
                return Ok(());
            }
            ensure!(begin.elapsed() < DEADLINE, "{place:?} logs none of {causes:?}:\n{log}");
            sleep(INTERVAL).await;
        }
    }

    fn logs(&self) -> String {
        let (relayd, dispatcherd) = (self.cluster.relayd.log_tail(), self.cluster.dispatcherd.log_tail());
        format!("relayd's log ends:\n{relayd}\ndispatcherd's log ends:\n{dispatcherd}")
    }

    /// A figure that relayd counts.
    async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let text = String::from_utf8(self.client.get("/metrics").await?.body.into())?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.parse().ok()))
    }
}

/// A round trip through both daemons, for when nothing is to be left of a fault.
async fn round_trip(world: &World) -> Result<()> {
    let request: Value = json!({"name": "aegir.check", "target": {"kind": "backend", "name": "main"}});
    world.client.succeeds(&request).await.map(drop)
}

/// A cluster whose broker is nobody else's.
fn private() -> ClusterBuilder {
    Cluster::builder().broker(|broker| broker)
}
