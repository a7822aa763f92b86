//! A session that looks healthy and does nothing.

use aegir_testkit::proxy::Mode;
use anyhow::{Result, ensure};

use super::{BOTH, Where, is_whole, private, round_trip, running, world};

#[tokio::test]
async fn a_session_that_delivers_nothing_while_heartbeats_pass_is_found_and_rebuilt() -> Result<()> {
    let world = world(private()).await?;
    let network = world.network()?;
    for (place, proxy) in [(Where::Relayd, &network.relayd), (Where::Dispatcherd, &network.dispatcherd)] {
        let id = running(&world).await?;
        // Those to come pass: only a new connection helps.
        ensure!(proxy.set_where("(consume)", Mode::HeartbeatsOnly) == 1);
        world.shows(place, &["nothing was delivered from it"]).await?;
        world.logs_show(place, &["lost the session with the broker"]).await?;
        world.is_well().await?;
        is_whole(&world, &id).await?;

        let id = running(&world).await?;
        ensure!(proxy.set_where("(publish)", Mode::HeartbeatsOnly) == 1);
        world.shows(place, &["nothing was confirmed"]).await?;
        world.is_well().await?;
        is_whole(&world, &id).await?;
    }
    round_trip(&world).await?;
    world.stop().await
}

#[tokio::test]
async fn consumers_that_the_broker_lost_are_found_and_replaced() -> Result<()> {
    let mut world = world(private()).await?;
    let id = running(&world).await?;
    // The broker ends every channel and tells nobody.
    world
        .cluster
        .broker
        .control(&["eval", "[rabbit_channel:shutdown(Channel) || Channel <- rabbit_channel:list()]."])
        .await?;
    for place in BOTH {
        world.logs_show(place, &["lost the session with the broker"]).await?;
    }
    world.is_well().await?;
    is_whole(&world, &id).await?;
    round_trip(&world).await?;
    world.stop().await
}
