//! The broker's process.

use anyhow::Result;

use super::{is_whole, private, round_trip, running, world};

#[tokio::test]
async fn a_broker_that_is_killed_shut_down_or_frozen_is_named_and_nothing_is_lost() -> Result<()> {
    let mut world = world(private()).await?;
    let id = running(&world).await?;
    world.cluster.broker.kill().await?;
    world.both_show(&["not connected to the broker"]).await?;
    world.cluster.broker.restart().await?;
    world.is_well().await?;
    is_whole(&world, &id).await?;

    let id = running(&world).await?;
    world.cluster.broker.stop().await?;
    world.both_show(&["not connected to the broker"]).await?;
    world.cluster.broker.restart().await?;
    world.is_well().await?;
    is_whole(&world, &id).await?;

    let id = running(&world).await?;
    world.cluster.broker.pause()?;
    world.both_show(&["no heartbeat", "nothing was confirmed", "did not answer"]).await?;
    world.cluster.broker.resume()?;
    world.is_well().await?;
    is_whole(&world, &id).await?;
    round_trip(&world).await?;
    world.stop().await
}
