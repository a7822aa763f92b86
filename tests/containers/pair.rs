//! Two nodes of one backend, and two minions.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};

use crate::localdev::{Localdev, docker};

#[test]
fn two_nodes_share_the_work_and_one_goes_on_without_the_other() -> Result<()> {
    let localdev = Localdev::pair()?;
    // More than one node has slots for.
    let submit = |number: usize| {
        let minion = if number.is_multiple_of(2) { "minion" } else { "minion2" };
        Ok((localdev.submit("steady.count", &format!("site{number}"), minion, 60)?, minion))
    };
    let operations = (0..12).map(submit).collect::<Result<Vec<_>>>()?;
    let mut nodes = BTreeSet::new();
    for (id, minion) in &operations {
        let ended = localdev.ran_once(id, minion, 60)?;
        nodes.insert(ended["node"].as_str().context("no node")?.to_owned());
    }
    ensure!(nodes.len() == 2, "all of it ran on {nodes:?}");

    docker(&["stop", &localdev.container("dispatcherd2")])?;
    let alone = localdev.submit("steady.count", "alone", "minion2", 3)?;
    localdev.ran_once(&alone, "minion2", 3).map(drop)
}

#[test]
fn a_secret_is_opened_by_whichever_node_has_the_operation() -> Result<()> {
    let localdev = Localdev::pair()?;
    localdev.exec("web", &["sh", "-c", "umask 077 && printf mellon > /tmp/word"])?;
    let mut nodes = BTreeSet::new();
    let start = |number: usize| localdev.run_steady(&format!("secret{number}"), 3);
    for id in (0..6).map(start).collect::<Result<Vec<_>>>()? {
        let ended = localdev.until_it_ends(&id)?;
        ensure!(ended["outcome"] == "succeeded", "{ended:#}");
        nodes.insert(ended["node"].as_str().context("no node")?.to_owned());
    }
    ensure!(nodes.len() == 2, "all of it ran on {nodes:?}");
    let told = localdev.exec("minion", &["cat", "/var/tmp/told"])?;
    ensure!(told == "mellon", "{told}");
    Ok(())
}
