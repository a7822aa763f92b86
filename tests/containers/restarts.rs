//! Each container, and each daemon in its container, restarted under an Operation.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::localdev::{Localdev, docker, root};

const TICKS: u32 = 150;

/// Nothing of it is noticed by what runs.
#[test]
fn relayd_and_the_broker_may_be_restarted_under_an_operation() -> Result<()> {
    let localdev = Localdev::up()?;
    for service in ["relayd", "rabbitmq"] {
        let shell = localdev.submit("steady.count", service, "minion", TICKS)?;
        localdev.until_it_runs(&shell)?;
        docker(&["restart", &localdev.container(service)])?;
        localdev.ran_once(&shell, "minion", TICKS)?;
    }
    Ok(())
}

/// The daemon only, as `ddev worker-restart` does; its runners are processes beside it.
#[test]
fn the_daemons_may_be_replaced_under_an_operation() -> Result<()> {
    let localdev = Localdev::up()?;
    for daemon in ["dispatcherd", "relayd"] {
        let shell = localdev.submit("steady.count", daemon, "minion", TICKS)?;
        localdev.until_it_runs(&shell)?;
        let process = || localdev.exec(daemon, &["cat", "/tmp/daemon.pid"]);
        let before = process()?;
        let mut restart = Command::new(root().join("ddev/commands/host/worker-restart"));
        restart.args([daemon, "--no-build"]);
        restart
            .env("DDEV_SITENAME", localdev.container("").trim_start_matches("ddev-").trim_end_matches('-'));
        let restarted = restart.output().context("can't start worker-restart")?;
        ensure!(restarted.status.success(), "{restarted:?}");
        localdev.until("a new process", || Ok((process()? != before).then_some(())))?;
        localdev.ran_once(&shell, "minion", TICKS)?;
    }
    Ok(())
}

/// All processes of dispatcherd's container end with it, as they do with a machine.
#[test]
fn what_ended_with_a_container_is_said() -> Result<()> {
    let localdev = Localdev::up()?;
    let lost = localdev.submit("steady.count", "dispatcherd", "minion", 3000)?;
    localdev.until_it_runs(&lost)?;
    docker(&["restart", "--time", "1", &localdev.container("dispatcherd")])?;
    let ended = localdev.until_it_ends(&lost)?;
    ensure!(ended["outcome"] == "lost" && ended["reason"]["code"] == "runner_gone", "{ended:#}");
    let counting = localdev.of_attempts("minion")?;
    ensure!(counting.is_empty(), "something of it runs on: {counting}");

    let failed = localdev.submit("steady.play", "minion", "minion", 3000)?;
    localdev.until_it_has_begun(&failed, "minion")?;
    docker(&["restart", "--time", "1", &localdev.container("minion")])?;
    let ended = localdev.until_it_ends(&failed)?;
    ensure!(ended["outcome"] == "failed", "{ended:#}");

    // And everything is as good as before.
    let next = localdev.submit("steady.play", "minion", "minion", 3)?;
    let ended = localdev.until_it_ends(&next)?;
    ensure!(ended["outcome"] == "succeeded", "{ended:#}");
    Ok(())
}
