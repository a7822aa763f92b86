//! A network that is cut and healed.

use anyhow::{Result, bail, ensure};

use crate::localdev::{Localdev, docker};

const TICKS: u32 = 400;

fn cut(localdev: &Localdev, service: &str) -> Result<()> {
    docker(&["network", "disconnect", &localdev.network(), &localdev.container(service)]).map(drop)
}

fn heal(localdev: &Localdev, service: &str) -> Result<()> {
    let (network, container) = (localdev.network(), localdev.container(service));
    // What compose has given it: its name, and the broker's for the daemons.
    let broker = format!("{}:broker", localdev.container("rabbitmq"));
    let mut words = vec!["network", "connect", "--alias", service];
    if ["relayd", "dispatcherd"].contains(&service) {
        words.extend(["--link", &broker]);
    }
    words.extend([network.as_str(), &container]);
    docker(&words).map(drop)
}

#[test]
fn a_daemon_without_its_broker_catches_up_when_it_is_back() -> Result<()> {
    let localdev = Localdev::up()?;
    for service in ["relayd", "rabbitmq"] {
        let operation = localdev.submit("steady.count", service, "minion", TICKS)?;
        localdev.until_it_runs(&operation)?;
        cut(&localdev, service)?;
        // Two heartbeats later relayd has given the connection up.
        localdev.until("the cut is noticed", || {
            let noticed =
                localdev.aegir(&["check"]).is_err_and(|said| said.to_string().contains("not connected"));
            Ok(noticed.then_some(()))
        })?;
        heal(&localdev, service)?;
        localdev.ran_once(&operation, "minion", TICKS)?;
    }
    Ok(())
}

/// It is cut off from its broker and its minions at once, so whether its connection to the minion lives through that is
/// not for it to say. That it knows how the Operation ended, and that nothing of it runs on, is.
#[test]
fn a_node_that_is_cut_off_is_said_and_catches_up() -> Result<()> {
    let localdev = Localdev::up()?;
    let operation = localdev.submit("steady.count", "node", "minion", TICKS)?;
    localdev.until_it_runs(&operation)?;
    cut(&localdev, "dispatcherd")?;
    localdev.until("the cut is noticed", || {
        let noticed = localdev.aegir(&["check"]).is_err_and(|said| said.to_string().contains("dispatcherd"));
        Ok(noticed.then_some(()))
    })?;
    heal(&localdev, "dispatcherd")?;
    let ended = localdev.until_it_ends(&operation)?;
    match ended["outcome"].as_str() {
        Some("succeeded") => localdev.ran_once(&operation, "minion", TICKS).map(drop)?,
        Some("failed") => {
            let code = ended["reason"]["code"].as_str();
            ensure!(matches!(code, Some("minion_unreachable" | "task_failed")), "{ended:#}");
        }
        _ => bail!("{ended:#}"),
    }
    localdev
        .until("its end on the minion", || Ok(localdev.of_attempts("minion")?.is_empty().then_some(())))?;
    let next = localdev.submit("steady.count", "node", "minion", 3)?;
    localdev.ran_once(&next, "minion", 3).map(drop)
}

#[test]
fn a_minion_that_is_cut_off_is_said_and_used_again() -> Result<()> {
    let localdev = Localdev::up()?;
    let operation = localdev.submit("steady.count", "minion", "minion", 3000)?;
    localdev.until_it_runs(&operation)?;
    cut(&localdev, "minion")?;
    let ended = localdev.until_it_ends(&operation)?;
    ensure!(ended["outcome"] == "failed", "{ended:#}");
    heal(&localdev, "minion")?;
    let next = localdev.submit("steady.count", "minion", "minion", 3)?;
    localdev.ran_once(&next, "minion", 3).map(drop)
}
