//! What an operator can do to the broker by hand.

use std::time::Instant;

use aegir_amqp::topology::{CONTROL, OPERATIONS, REQUESTS, STATUS, TRANSCRIPTS};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use super::{BOTH, DEADLINE, INTERVAL, Where, is_whole, private, round_trip, running, world};
use crate::world::World;

#[tokio::test]
async fn a_queue_that_is_deleted_by_hand_is_made_anew_and_nothing_is_lost() -> Result<()> {
    let mut world = world(private()).await?;
    let ours = [
        (REQUESTS, Where::Relayd),
        (OPERATIONS, Where::Dispatcherd),
        (TRANSCRIPTS, Where::Relayd),
        (CONTROL, Where::Dispatcherd),
        (STATUS, Where::Relayd),
    ];
    for (exchange, reader) in ours {
        let id = running(&world).await?;
        let name = queue(&mut world, exchange).await?.context("there is no such queue")?;
        println!("{name}");
        world.cluster.broker.control(&["delete_queue", &name]).await?;
        // Where the other daemon's next message makes the queue anew first, RabbitMQ may keep to itself that the
        // consumer is gone, and it is the probe that finds out.
        let told = [format!("the broker ended the consumer of {exchange}"), format!("{name} holds messages")];
        world.logs_show(reader, &told.each_ref().map(String::as_str)).await?;
        let begin = Instant::now();
        while queue(&mut world, exchange).await?.is_none() {
            ensure!(begin.elapsed() < DEADLINE, "{name} does not come back\n{}", world.logs());
            sleep(INTERVAL).await;
        }
        world.is_well().await?;
        is_whole(&world, &id).await?;
        round_trip(&world).await?;
    }
    world.stop().await
}

#[tokio::test]
async fn connections_that_are_closed_by_hand_come_back() -> Result<()> {
    let mut world = world(private()).await?;
    let id = running(&world).await?;
    world.cluster.broker.control(&["close_all_connections", "because of a test"]).await?;
    for place in BOTH {
        world.logs_show(place, &["because of a test"]).await?;
    }
    world.is_well().await?;
    is_whole(&world, &id).await?;
    round_trip(&world).await?;
    // relayd hears afterwards what kept the node away: by a heartbeat, of which the first may be too early for it.
    let begin = Instant::now();
    loop {
        let nodes: Value = world.client.get("/api/v1/nodes").await?.json()?;
        let told = nodes["nodes"][0]["heartbeat"]["last_outage"].as_str().unwrap_or_default();
        if told.contains("because of a test") {
            break;
        }
        ensure!(begin.elapsed() < DEADLINE, "{nodes:#}");
        sleep(INTERVAL).await;
    }
    world.stop().await
}

/// The queue of ours that belongs to an exchange.
async fn queue(world: &mut World, exchange: &str) -> Result<Option<String>> {
    let names = world.cluster.broker.control(&["list_queues", "--silent", "name"]).await?;
    let prefix = format!("{exchange}.");
    Ok(names.lines().find(|name| name.starts_with(&prefix)).map(str::to_owned))
}
