//! Broker and daemons under measurement, and the few calls of the API that measuring needs.

use std::path::Path;
use std::time::{Duration, Instant};

use aegir_testkit::{Broker, Dispatcherd, Relayd};
use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::figure::Figure;

pub(super) struct BenchSystem {
    pub(super) dispatcherd: Dispatcherd,
    pub(super) relayd: Relayd,
    pub(super) broker: Broker,
    relayd_ready: Duration,
    dispatcherd_ready: Duration,
}

impl BenchSystem {
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let broker = Broker::start(&directory.join("broker")).await?;
        let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bench/roles");
        // Each is started twice: a first start makes keys and tables, which later starts do not.
        let mut relayd = Relayd::start(&directory.join("relayd"), broker.url()).await?;
        relayd.stop().await?;
        let begin = Instant::now();
        relayd.start_again().await?;
        let relayd_ready = begin.elapsed();
        let mut dispatcherd = Dispatcherd::builder(&directory.join("dispatcherd"), broker.url())
            .roles(&roles)
            .allow_programs()
            .setting("slots = 8")
            // One that prints without end is to go on until it is called off.
            .section("[limits]\noutput_bytes = 68719476736")
            .start()
            .await?;
        dispatcherd.stop().await?;
        let begin = Instant::now();
        dispatcherd.start_again().await?;
        let dispatcherd_ready = begin.elapsed();
        let system = Self { dispatcherd, relayd, broker, relayd_ready, dispatcherd_ready };
        system.relayd.wait_for_catalog(Duration::from_secs(30)).await?;
        Ok(system)
    }

    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.dispatcherd.stop().await?;
        self.relayd.stop().await?;
        self.broker.stop().await
    }

    pub(super) fn readiness(&self) -> [Figure; 2] {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        [
            Figure::new("relayd: exec to ready", milliseconds(self.relayd_ready), "ms").goal("200"),
            Figure::new("dispatcherd: exec to ready", milliseconds(self.dispatcherd_ready), "ms").goal("200"),
        ]
    }

    /// Submits an Operation of the role `bench`, and gives its id.
    pub(super) async fn submit(
        &self,
        operation: &str,
        site: &str,
        variables: &Value,
    ) -> anyhow::Result<String> {
        let request = json!({
            "name": format!("bench.{operation}"),
            "target": {"kind": "site", "name": site},
            "variables": {"site": variables},
        });
        let (status, answer) = self.relayd.post("/api/v1/operations", &request).await?;
        let id = answer["id"].as_str().with_context(|| format!("{status}: {answer}"))?;
        Ok(id.to_owned())
    }

    /// Waits until an Operation runs.
    pub(super) async fn runs(&self, id: &str) -> anyhow::Result<()> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if self.detail(id).await?["summary"]["state"] == "running" {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{id} does not run")
    }

    /// How many bytes of its transcript are committed.
    pub(super) async fn transcript_bytes(&self, id: &str) -> anyhow::Result<u64> {
        let detail = self.detail(id).await?;
        detail["attempts"][0]["transcript_bytes"].as_u64().with_context(|| format!("{detail:#}"))
    }

    /// Calls an Operation off and waits for its end, which comes when all that it printed has arrived.
    pub(super) async fn cancel(&self, id: &str) -> anyhow::Result<()> {
        let (status, answer) =
            self.relayd.post(&format!("/api/v1/operations/{id}/cancel"), &json!({})).await?;
        ensure!(status == 202, "{status}: {answer}");
        let end = Instant::now() + Duration::from_secs(600);
        while Instant::now() < end {
            if self.detail(id).await?["summary"]["state"] == "canceled" {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{id} was not canceled in ten minutes")
    }

    async fn detail(&self, id: &str) -> anyhow::Result<Value> {
        Ok(self.relayd.get(&format!("/api/v1/operations/{id}")).await?.1)
    }

    /// Waits until an Operation has succeeded and its transcript is whole.
    pub(super) async fn succeeded(&self, id: &str) -> anyhow::Result<Value> {
        let end = Instant::now() + Duration::from_secs(600);
        while Instant::now() < end {
            let detail = self.detail(id).await?;
            match detail["summary"]["state"].as_str() {
                Some("succeeded") if detail["attempts"][0]["transcript_complete"] == true => {
                    return Ok(detail);
                }
                Some("waiting" | "queued" | "claimed" | "running" | "succeeded") => {}
                Some(_) | None => bail!("{detail:#}"),
            }
            sleep(Duration::from_millis(5)).await;
        }
        bail!("{id} did not end in ten minutes")
    }
}
