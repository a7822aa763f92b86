//! Submissions by AMQP, as a frontend makes them that publishes again until the broker has confirmed.

use std::time::Duration;

use aegir_amqp::topology::REQUESTS;
use aegir_amqp::{BrokerConfig, BrokerSession, Outgoing, SessionBuilder, Topology};
use aegir_protocol::message::encode;
use aegir_protocol::request::Request;
use anyhow::{Context as _, bail};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// How long the broker may be away altogether, while there are faults.
const PATIENCE: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(100);
/// relayd's name in the test kit.
const FRONTEND: &str = "main";

/// A frontend's way to the broker; dropping it closes it.
#[derive(Debug)]
pub(super) struct Post {
    link: BrokerSession,
    _cancel: DropGuard,
}

impl Post {
    pub(super) fn new(url: &str) -> Self {
        let cancel = CancellationToken::new();
        let builder = SessionBuilder::new(BrokerConfig::from_url(url), "chaos", Topology::base());
        let link = builder.start(cancel.clone(), &TaskTracker::new());
        Self { link, _cancel: cancel.drop_guard() }
    }

    /// Publishes a request until the broker has confirmed it.
    pub(super) async fn submit(&self, key: &str, request: &Value) -> anyhow::Result<()> {
        let request: Request = serde_json::from_value(request.clone()).context("not a request")?;
        let message = Outgoing::new(REQUESTS, FRONTEND, encode(&request)).message_id(key);
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.link.publisher().publish(message.clone()).await {
            if Instant::now() > end {
                bail!("{key} can't be published: {error}");
            }
            sleep(INTERVAL).await;
        }
        Ok(())
    }
}
