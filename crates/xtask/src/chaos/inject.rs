//! Carries out the faults of a schedule, one after the other, and counts what each one struck.

mod injection_log;
mod runners;
mod select;

use aegir_client::Client;
use aegir_testkit::proxy::{Direction, Mode, Side};
use aegir_testkit::{Proxy, Relayd};
use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use super::clock::Jump;
use super::fault::{Fault, FaultKind};
use super::schedule::Schedule;
use super::system::{ChaosNode, ChaosSystem};
pub(super) use injection_log::InjectionLog;
use select::{Selection, select};

/// Strikes until the schedule has no more faults and its time is over; everything is mended then.
pub(super) async fn inject_faults(
    schedule: &Schedule,
    system: &mut ChaosSystem,
    begin: Instant,
) -> anyhow::Result<InjectionLog> {
    let frontend = system.frontend();
    let mut injected = InjectionLog::default();
    for fault in &schedule.faults {
        sleep_until(begin + fault.at).await;
        if let Err(error) = inject(fault, system, &frontend, &mut injected, begin).await {
            injected.errors.push(format!("{fault}: {error:#}"));
            break;
        }
    }
    sleep_until(begin + schedule.length).await;
    Ok(injected)
}

async fn inject(
    fault: &Fault,
    system: &mut ChaosSystem,
    frontend: &Client,
    injected: &mut InjectionLog,
    begin: Instant,
) -> anyhow::Result<()> {
    let selection = select(fault, system, frontend).await;
    let from = begin.elapsed();
    let phases = start_fault(fault, &selection, system, injected).await?;
    for phase in phases {
        injected.table.count(fault.kind, phase);
    }
    if !matches!(
        fault.kind,
        FaultKind::KillRunner | FaultKind::KillChild | FaultKind::Reset | FaultKind::DeleteQueue
    ) {
        sleep(fault.lasts).await;
    }
    // What the aim held back, and what the fault did to the network.
    system.heal_networks();
    end_fault(fault, selection.whom, system).await?;
    injected.timeline.push(format!("{from:?} to {:?}: {fault}; at {}", begin.elapsed(), selection.whom));
    Ok(())
}

/// Does it, and says in which phases there were Operations that it struck.
async fn start_fault(
    fault: &Fault,
    selection: &Selection,
    system: &mut ChaosSystem,
    injected: &mut InjectionLog,
) -> anyhow::Result<Vec<super::fault::OperationPhase>> {
    let whom = selection.whom;
    let place = whom.min(1);
    match fault.kind {
        FaultKind::KillNode => system.nodes[place].dispatcherd.kill().await?,
        FaultKind::FreezeNode => signal_node(&mut system.nodes[place], Signal::STOP)?,
        FaultKind::RestartNode => drop(system.nodes[place].dispatcherd.stop().await?),
        FaultKind::KillBothNodes => {
            for node in &mut system.nodes {
                node.dispatcherd.kill().await?;
            }
        }
        FaultKind::KillRelayd => system.relayd.kill().await?,
        FaultKind::FreezeRelayd => signal_relayd(&mut system.relayd, Signal::STOP)?,
        FaultKind::RestartRelayd => drop(system.relayd.stop().await?),
        FaultKind::KillBroker => system.broker.kill().await?,
        FaultKind::FreezeBroker => system.broker.pause()?,
        FaultKind::RestartBroker => system.broker.stop().await?,
        FaultKind::KillRunner => return Ok(runners::kill_runner(selection, system, injected)),
        FaultKind::KillChild => return Ok(runners::kill_child(selection, system, injected)),
        FaultKind::KillMachine => {
            system.nodes[place].dispatcherd.kill().await?;
            runners::kill_runners_of(&system.nodes[place], injected);
        }
        FaultKind::Reset => {
            network(system, whom).reset();
        }
        FaultKind::StallToBroker => network(system, whom).set(Mode::Stall(Direction::ToBroker)),
        FaultKind::StallFromBroker => network(system, whom).set(Mode::Stall(Direction::FromBroker)),
        FaultKind::HalfOpen => {
            let closed = if fault.choice.is_multiple_of(2) { Side::Daemon } else { Side::Broker };
            network(system, whom).half_open(closed);
        }
        FaultKind::Throttle => network(system, whom).set(Mode::Throttle { bytes_per_second: 20_000 }),
        FaultKind::Deaf => {
            network(system, whom).set_where("(consume)", Mode::HeartbeatsOnly);
        }
        FaultKind::DeleteQueue => {
            system.broker.control(&["delete_queue", fault.queue()]).await?;
        }
        FaultKind::SetClock => system.clocks()[whom.min(2)].set(Jump::choose(fault.choice))?,
        FaultKind::FillNode => {
            system.nodes[place].disk.as_ref().context("it has no disk of its own")?.fill()?;
        }
        FaultKind::FillRelayd => system.relayd_disk.as_ref().context("it has no disk of its own")?.fill()?,
    }
    Ok(selection.affected_by(fault.kind))
}

/// Undoes it.
async fn end_fault(fault: &Fault, whom: usize, system: &mut ChaosSystem) -> anyhow::Result<()> {
    let place = whom.min(1);
    match fault.kind {
        FaultKind::KillNode | FaultKind::RestartNode | FaultKind::KillMachine => {
            system.nodes[place].dispatcherd.start_again().await
        }
        FaultKind::KillBothNodes => {
            for node in &mut system.nodes {
                node.dispatcherd.start_again().await?;
            }
            Ok(())
        }
        FaultKind::FreezeNode => signal_node(&mut system.nodes[place], Signal::CONT),
        FaultKind::KillRelayd | FaultKind::RestartRelayd => system.relayd.start_again().await,
        FaultKind::FreezeRelayd => signal_relayd(&mut system.relayd, Signal::CONT),
        FaultKind::KillBroker | FaultKind::RestartBroker => system.broker.restart().await,
        FaultKind::FreezeBroker => system.broker.resume(),
        FaultKind::FillNode => {
            system.nodes[place].disk.as_ref().context("it has no disk of its own")?.empty()
        }
        FaultKind::FillRelayd => system.relayd_disk.as_ref().context("it has no disk of its own")?.empty(),
        // RabbitMQ 3.10 would forget it if the next fault kills the broker.
        FaultKind::DeleteQueue => system.broker.sync_once_there(fault.queue()).await,
        FaultKind::SetClock => system.clocks()[whom.min(2)].set(Jump::None),
        FaultKind::KillRunner
        | FaultKind::KillChild
        | FaultKind::Reset
        | FaultKind::StallToBroker
        | FaultKind::StallFromBroker
        | FaultKind::HalfOpen
        | FaultKind::Throttle
        | FaultKind::Deaf => Ok(()),
    }
}

fn network(system: &ChaosSystem, whom: usize) -> &Proxy {
    system.networks()[whom.min(2)]
}

fn signal_node(node: &mut ChaosNode, signal: Signal) -> anyhow::Result<()> {
    node.dispatcherd.process().context("dispatcherd does not run")?.signal(signal)
}

fn signal_relayd(relayd: &mut Relayd, signal: Signal) -> anyhow::Result<()> {
    relayd.process().context("relayd does not run")?.signal(signal)
}
