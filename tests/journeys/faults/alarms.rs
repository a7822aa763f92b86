//! A broker that takes no messages because it is short of something.

use anyhow::{Result, ensure};

use super::{is_whole, private, running, world};

#[tokio::test]
async fn a_memory_or_disk_alarm_is_named_and_what_waits_goes_out_after_it() -> Result<()> {
    let mut world = world(private()).await?;
    let alarms = [
        ("memory", ["set_vm_memory_high_watermark", "0.0000001"], ["set_vm_memory_high_watermark", "0.6"]),
        ("disk", ["set_disk_free_limit", "1000000GB"], ["set_disk_free_limit", "1MB"]),
    ];
    for (what, raise, lift) in alarms {
        let id = running(&world).await?;
        world.cluster.broker.control(&raise).await?;
        world.both_show(&[&format!("low on {what}")]).await?;
        ensure!(world.metric("relayd_broker_status{status=\"blocked\"}").await? == Some(1.0));
        ensure!(world.metric("relayd_broker_up").await? == Some(0.0));
        world.cluster.broker.control(&lift).await?;
        world.is_well().await?;
        is_whole(&world, &id).await?;
        ensure!(world.metric("relayd_broker_status{status=\"up\"}").await? == Some(1.0));
    }
    world.stop().await
}
