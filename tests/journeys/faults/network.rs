//! The network between the daemons and the broker.

use aegir_testkit::proxy::{Direction, Mode, Side};
use anyhow::{Result, ensure};

use super::{BOTH, Where, is_whole, private, round_trip, running, world};

/// What a connection that has gone silent is called, by whoever finds out first: we, or the broker, which closes it.
const SILENT: &[&str] = &["no heartbeat", "nothing was confirmed", "nothing was delivered", "not connected"];

#[tokio::test]
async fn a_network_that_drops_resets_or_forgets_is_named_and_nothing_is_lost() -> Result<()> {
    let world = world(private()).await?;
    let network = world.network()?;
    let proxies = [&network.relayd, &network.dispatcherd];
    for way in [Direction::ToBroker, Direction::FromBroker, Direction::Both] {
        let id = running(&world).await?;
        println!("{way:?}");
        proxies.iter().for_each(|proxy| proxy.set(Mode::Stall(way)));
        world.both_show(SILENT).await?;
        proxies.iter().for_each(|proxy| proxy.set(Mode::Pass));
        world.is_well().await?;
        is_whole(&world, &id).await?;
    }

    let id = running(&world).await?;
    proxies.iter().for_each(|proxy| proxy.set(Mode::Refuse));
    world.both_show(&["not connected to the broker"]).await?;
    proxies.iter().for_each(|proxy| proxy.set(Mode::Pass));
    world.is_well().await?;
    is_whole(&world, &id).await?;

    // One that is over at once is found in the log.
    let id = running(&world).await?;
    for proxy in proxies {
        ensure!(proxy.reset() == 2);
    }
    for place in BOTH {
        world.logs_show(place, &["Connection reset by peer"]).await?;
    }
    world.is_well().await?;
    is_whole(&world, &id).await?;
    round_trip(&world).await?;
    world.stop().await
}

#[tokio::test]
async fn a_half_open_connection_is_given_up_and_nothing_is_lost() -> Result<()> {
    let world = world(private()).await?;
    let network = world.network()?;
    let proxies = [(Where::Relayd, &network.relayd), (Where::Dispatcherd, &network.dispatcherd)];
    for (place, proxy) in proxies {
        // The broker is gone, and the daemon was not told.
        let id = running(&world).await?;
        ensure!(proxy.half_open(Side::Broker) == 2);
        world.shows(place, SILENT).await?;
        world.is_well().await?;
        is_whole(&world, &id).await?;
        // The daemon is gone, and the broker was not told: it goes on delivering into nowhere for a while.
        let id = running(&world).await?;
        ensure!(proxy.half_open(Side::Daemon) >= 2);
        is_whole(&world, &id).await?;
    }
    round_trip(&world).await?;
    world.stop().await
}

#[tokio::test]
async fn a_slow_network_is_waited_for() -> Result<()> {
    let world = world(private()).await?;
    let network = world.network()?;
    for proxy in [&network.relayd, &network.dispatcherd] {
        proxy.set(Mode::Throttle { bytes_per_second: 20_000 });
    }
    let id = running(&world).await?;
    is_whole(&world, &id).await?;
    ensure!(!world.logs().contains("lost the session"), "{}", world.logs());
    world.stop().await
}
