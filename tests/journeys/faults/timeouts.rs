//! The broker's `consumer_timeout`: it closes the channel of whoever holds a delivery for too long.

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::{is_whole, private, round_trip, running};
use crate::restarts;
use crate::world::World;

#[tokio::test]
async fn an_operation_may_run_longer_than_the_broker_waits_for_an_acknowledgement() -> Result<()> {
    // RabbitMQ looks at it with every tick of a channel, which is a minute unless it is told.
    let tick = "[{rabbit, [{consumer_timeout, 3000}, {channel_tick_interval, 1000}]}].";
    let builder = private().broker(move |broker| broker.advanced(tick));
    // With the ordinary heartbeats: a broker that closes the connection first would prove nothing.
    let mut world = World::of(builder).await?;
    let id = restarts::started(&world, &restarts::sleep(8)).await?;
    restarts::is_whole(&world, &id, 8).await?;
    let log = world.cluster.broker.log();
    ensure!(!log.contains("consumer_timeout") && !log.contains("delivery acknowledgement"), "{log}");

    // One that does hold deliveries, because it is stopped, loses its channel and comes back.
    let id = running(&world).await?;
    let relayd = world.cluster.relayd.process().context("relayd runs")?;
    relayd.signal(Signal::STOP)?;
    let closed = world.cluster.broker.logs("delivery acknowledgement").await;
    world.cluster.relayd.process().context("relayd runs")?.signal(Signal::CONT)?;
    closed?;
    world.is_well().await?;
    is_whole(&world, &id).await?;
    round_trip(&world).await?;
    world.stop().await
}
