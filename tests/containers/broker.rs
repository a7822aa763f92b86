//! The test kit's own brokers in containers.

use aegir_amqp::{BrokerConfig, SessionBuilder, Topology};
use aegir_testkit::Broker;
use anyhow::{Result, ensure};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[test]
fn a_test_can_have_a_broker_of_either_version() -> Result<()> {
    Runtime::new()?.block_on(async {
        for (image, version) in [("aegir-rabbitmq:bookworm", "3.10."), ("aegir-rabbitmq:trixie", "4.")] {
            let broker = Broker::of_image(image).await?;
            let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
            let config = BrokerConfig::from_url(broker.url());
            let link =
                SessionBuilder::new(config, "containers", Topology::base()).start(cancel.clone(), &tracker);
            ensure!(link.up().await, "{image} can't be reached");
            let greeting = link.greeting().await?.to_string();
            ensure!(greeting.starts_with(&format!("RabbitMQ {version}")), "{image}: {greeting}");
            cancel.cancel();
            tracker.close();
            tracker.wait().await;
        }
        Ok(())
    })
}
