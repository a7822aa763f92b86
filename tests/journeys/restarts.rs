//! A running Operation does not notice restarts.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use aegir_protocol::state::State;
use aegir_testkit::Cluster;

use crate::world::World;

pub(crate) fn sleep(seconds: u64) -> Value {
    json!({
        "name": "noisy.sleep",
        "target": {"kind": "site", "name": "restart.test"},
        "variables": {"site": {"count": seconds}},
    })
}

fn ticks(seconds: u64) -> Vec<u8> {
    (0..seconds * 10).flat_map(|n| format!("tick {n}\n").into_bytes()).collect()
}

pub(crate) async fn started(world: &World, request: &Value) -> Result<String> {
    let id = world.client.submit(request).await?;
    // A little output, so that the child is past its start.
    world
        .client
        .until(&id, |detail| detail.attempts.first().is_some_and(|a| a.transcript_records > 4))
        .await?;
    Ok(id)
}

pub(crate) async fn is_whole(world: &World, id: &str, seconds: u64) -> Result<()> {
    let detail = world.client.ended(id).await?;
    ensure!(detail.summary.state == State::Succeeded, "{detail:#?}");
    ensure!(detail.attempts.len() == 1, "{detail:#?}");
    ensure!(world.client.output(id, 1, "stdout").await? == ticks(seconds), "the output is not whole");
    world.copies_are_equal(id).await
}

#[tokio::test]
async fn a_killed_dispatcherd_finds_its_runner_again() -> Result<()> {
    let mut world = World::start().await?;
    let id = started(&world, &sleep(4)).await?;
    world.cluster.dispatcherd.kill().await?;
    world.cluster.dispatcherd.start_again().await?;
    is_whole(&world, &id, 4).await?;
    world.stop().await
}

#[tokio::test]
async fn a_killed_relayd_goes_on_where_it_was() -> Result<()> {
    let mut world = World::start().await?;
    let id = started(&world, &sleep(4)).await?;
    world.cluster.relayd.kill().await?;
    world.cluster.relayd.start_again().await?;
    is_whole(&world, &id, 4).await?;
    world.stop().await
}

/// dispatcherd sees nothing of it: the broker is the same, and the queues are.
#[tokio::test]
async fn a_relayd_with_a_new_store_hears_again_what_backends_can_do() -> Result<()> {
    let mut world = World::start().await?;
    world.cluster.relayd.stop().await?;
    for file in ["relayd.db", "relayd.db-wal", "relayd.db-shm"] {
        let path = world.cluster.relayd.state_directory().join(file);
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    world.cluster.relayd.start_again().await?;
    world.cluster.wait_for_catalog().await?;
    world.client.succeeds(&sleep(0)).await?;
    world.stop().await
}

#[tokio::test]
async fn a_killed_broker_loses_nothing() -> Result<()> {
    let mut world = World::of(Cluster::builder().broker(|broker| broker)).await?;
    // RabbitMQ 3.10 forgets a quorum queue that is only seconds old when it is killed.
    world.cluster.broker.sync().await?;
    let id = started(&world, &sleep(4)).await?;
    world.cluster.broker.kill().await?;
    world.cluster.broker.restart().await?;
    is_whole(&world, &id, 4).await?;
    // And new work goes through.
    let next = world.client.succeeds(&sleep(0)).await?;
    world.copies_are_equal(&next).await?;
    world.stop().await
}

#[tokio::test]
async fn a_killed_runner_is_lost_and_its_child_is_gone() -> Result<()> {
    let world = World::start().await?;
    let id = started(&world, &sleep(600)).await?;
    let (runner, child) = world.runner_of(&id).await?;
    world.kill(runner)?;
    let detail = world.client.until(&id, |detail| detail.summary.state.outcome().is_some()).await?;
    ensure!(detail.summary.state == State::Lost, "{detail:#?}");
    let reason = detail.summary.reason.context("it has no reason")?;
    ensure!(reason.code == "runner_gone", "{reason}");
    ensure!(reason.message.contains("; nothing that it started is left on the node."), "{reason}");
    world.is_gone(child)?;
    // Its locks are free again.
    world.client.succeeds(&sleep(0)).await?;
    world.stop().await
}
