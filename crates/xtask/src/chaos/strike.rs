//! Carries out the faults of a schedule, one after the other, and counts what each one struck.

mod aim;
mod victims;

use std::collections::BTreeSet;

use aegir_testkit::proxy::{Mode, Side, Way};
use aegir_testkit::{Proxy, Relayd};
use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::clock::Jump;
use super::fault::{Fault, Kind};
use super::frontend::Frontend;
use super::schedule::Schedule;
use super::stage::{Node, Stage};
use super::table::Table;
use aim::{Aimed, aim};

/// What was done, beside daemons and network, that may change how an attempt ends.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) runners_killed: BTreeSet<(String, u32)>,
    pub(super) children_killed: BTreeSet<(String, u32)>,
    pub(super) table: Table,
    /// What happened when, for whoever reads a failed schedule.
    pub(super) diary: Vec<String>,
    /// A daemon that did not stop, or did not come back.
    pub(super) trouble: Vec<String>,
}

/// Strikes until the schedule has no more faults and its time is over; everything is mended then.
pub(super) async fn strike(schedule: &Schedule, stage: &mut Stage, begin: Instant) -> anyhow::Result<Struck> {
    let frontend = stage.frontend()?;
    let mut struck = Struck::default();
    for fault in &schedule.faults {
        sleep_until(begin + fault.at).await;
        if let Err(error) = one(fault, stage, &frontend, &mut struck, begin).await {
            struck.trouble.push(format!("{fault}: {error:#}"));
            break;
        }
    }
    sleep_until(begin + schedule.length).await;
    Ok(struck)
}

async fn one(
    fault: &Fault,
    stage: &mut Stage,
    frontend: &Frontend,
    struck: &mut Struck,
    begin: Instant,
) -> anyhow::Result<()> {
    let aimed = aim(fault, stage, frontend).await;
    let from = begin.elapsed();
    let hits = blow(fault, &aimed, stage, struck).await?;
    for phase in hits {
        struck.table.count(fault.kind, phase);
    }
    if !matches!(fault.kind, Kind::KillRunner | Kind::KillChild | Kind::Reset | Kind::DeleteQueue) {
        sleep(fault.lasts).await;
    }
    // What the aim held back, and what the fault did to the network.
    stage.heal_networks();
    mend(fault, aimed.whom, stage).await?;
    struck.diary.push(format!("{from:?} to {:?}: {fault}; at {}", begin.elapsed(), aimed.whom));
    Ok(())
}

/// Does it, and says in which phases there were Operations that it struck.
async fn blow(
    fault: &Fault,
    aimed: &Aimed,
    stage: &mut Stage,
    struck: &mut Struck,
) -> anyhow::Result<Vec<super::fault::Phase>> {
    let whom = aimed.whom;
    let place = whom.min(1);
    match fault.kind {
        Kind::KillNode => stage.nodes[place].dispatcherd.kill().await?,
        Kind::FreezeNode => signal_node(&mut stage.nodes[place], Signal::STOP)?,
        Kind::RestartNode => drop(stage.nodes[place].dispatcherd.stop().await?),
        Kind::KillBothNodes => {
            for node in &mut stage.nodes {
                node.dispatcherd.kill().await?;
            }
        }
        Kind::KillRelayd => stage.relayd.kill().await?,
        Kind::FreezeRelayd => signal_relayd(&mut stage.relayd, Signal::STOP)?,
        Kind::RestartRelayd => drop(stage.relayd.stop().await?),
        Kind::KillBroker => stage.broker.kill().await?,
        Kind::FreezeBroker => stage.broker.pause()?,
        Kind::RestartBroker => stage.broker.stop().await?,
        Kind::KillRunner => return Ok(victims::kill_runner(aimed, stage, struck)),
        Kind::KillChild => return Ok(victims::kill_child(aimed, stage, struck)),
        Kind::KillMachine => {
            stage.nodes[place].dispatcherd.kill().await?;
            victims::kill_runners_of(&stage.nodes[place], struck);
        }
        Kind::Reset => {
            network(stage, whom).reset();
        }
        Kind::StallToBroker => network(stage, whom).set(Mode::Stall(Way::ToBroker)),
        Kind::StallFromBroker => network(stage, whom).set(Mode::Stall(Way::FromBroker)),
        Kind::HalfOpen => {
            let closed = if fault.choice.is_multiple_of(2) { Side::Daemon } else { Side::Broker };
            network(stage, whom).half_open(closed);
        }
        Kind::Throttle => network(stage, whom).set(Mode::Throttle { bytes_per_second: 20_000 }),
        Kind::Deaf => {
            network(stage, whom).set_where("(consume)", Mode::HeartbeatsOnly);
        }
        Kind::DeleteQueue => {
            stage.broker.control(&["delete_queue", fault.queue()]).await?;
        }
        Kind::SetClock => stage.clocks()[whom.min(2)].set(Jump::choose(fault.choice))?,
        Kind::FillNode => stage.nodes[place].disk.as_ref().context("it has no disk of its own")?.fill()?,
        Kind::FillRelayd => stage.relayd_disk.as_ref().context("it has no disk of its own")?.fill()?,
    }
    Ok(aimed.struck_by(fault.kind))
}

/// Undoes it.
async fn mend(fault: &Fault, whom: usize, stage: &mut Stage) -> anyhow::Result<()> {
    let place = whom.min(1);
    match fault.kind {
        Kind::KillNode | Kind::RestartNode | Kind::KillMachine => {
            stage.nodes[place].dispatcherd.start_again().await
        }
        Kind::KillBothNodes => {
            for node in &mut stage.nodes {
                node.dispatcherd.start_again().await?;
            }
            Ok(())
        }
        Kind::FreezeNode => signal_node(&mut stage.nodes[place], Signal::CONT),
        Kind::KillRelayd | Kind::RestartRelayd => stage.relayd.start_again().await,
        Kind::FreezeRelayd => signal_relayd(&mut stage.relayd, Signal::CONT),
        Kind::KillBroker | Kind::RestartBroker => stage.broker.restart().await,
        Kind::FreezeBroker => stage.broker.resume(),
        Kind::FillNode => stage.nodes[place].disk.as_ref().context("it has no disk of its own")?.empty(),
        Kind::FillRelayd => stage.relayd_disk.as_ref().context("it has no disk of its own")?.empty(),
        // RabbitMQ 3.10 would forget it if the next fault kills the broker.
        Kind::DeleteQueue => stage.broker.sync_once_there(fault.queue()).await,
        Kind::SetClock => stage.clocks()[whom.min(2)].set(Jump::None),
        Kind::KillRunner
        | Kind::KillChild
        | Kind::Reset
        | Kind::StallToBroker
        | Kind::StallFromBroker
        | Kind::HalfOpen
        | Kind::Throttle
        | Kind::Deaf => Ok(()),
    }
}

fn network(stage: &Stage, whom: usize) -> &Proxy {
    stage.networks()[whom.min(2)]
}

fn signal_node(node: &mut Node, signal: Signal) -> anyhow::Result<()> {
    node.dispatcherd.process().context("dispatcherd does not run")?.signal(signal)
}

fn signal_relayd(relayd: &mut Relayd, signal: Signal) -> anyhow::Result<()> {
    relayd.process().context("relayd does not run")?.signal(signal)
}
