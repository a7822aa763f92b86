//! What a journey needs besides the cluster: the roles of these tests, both copies of a transcript, and a stranger
//! on the broker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aegir_amqp::{BrokerSession, Outgoing, Topology};
use aegir_api::DeadLetterDetail;
use aegir_client::Method;
use aegir_testkit::Cluster;
use aegir_testkit::cluster::ClusterBuilder;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::Client;

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    tap: Tap,
}

/// A stranger on the broker, who puts messages on queues.
struct Tap {
    link: BrokerSession,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Tap {
    async fn start(url: &str) -> Result<Self> {
        let (cancel, tracker) = (CancellationToken::new(), TaskTracker::new());
        let config = aegir_amqp::BrokerConfig::from_url(url);
        let builder = aegir_amqp::SessionBuilder::new(config, "journeys", Topology::base());
        let link = builder.start(cancel.clone(), &tracker);
        ensure!(link.up().await, "the broker is not there");
        Ok(Self { link, cancel, tracker })
    }
}

impl World {
    /// Everything, with the roles of these journeys beside the shipped ones.
    pub(crate) async fn start() -> Result<Self> {
        Self::of(Cluster::builder()).await
    }

    /// The same of a cluster that is described further.
    pub(crate) async fn of(builder: ClusterBuilder) -> Result<Self> {
        let roles = Path::new(env!("CARGO_MANIFEST_DIR")).join("roles");
        let cluster = builder
            .dispatcherd(move |dispatcherd| {
                dispatcherd
                    .roles(&roles)
                    .allow_programs()
                    // So that the node's copy can be compared after the end.
                    .setting("transcript_retention_seconds = 3600")
            })
            .start()
            .await?;
        let client = Client::new(cluster.relayd.client());
        let tap = Tap::start(cluster.broker.url()).await?;
        Ok(Self { client, cluster, tap })
    }

    /// Stops both daemons in order: that they end well is part of every journey.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.cluster.dispatcherd.stop().await?;
        self.cluster.relayd.stop().await?;
        self.tap.cancel.cancel();
        self.tap.tracker.close();
        timeout(Duration::from_secs(10), self.tap.tracker.wait()).await.context("the tap does not end")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.cluster.directory()
    }

    fn attempt_directory(&self, id: &str) -> PathBuf {
        self.cluster.dispatcherd.state_directory().join("operations").join(id).join("1")
    }

    pub(crate) fn transcript_at_the_node(&self, id: &str) -> PathBuf {
        self.attempt_directory(id).join("transcript")
    }

    /// relayd's copy of the transcript and the node's are the same bytes, and both are whole.
    pub(crate) async fn copies_are_equal(&self, id: &str) -> Result<()> {
        let path = self.transcript_at_the_node(id);
        let theirs = std::fs::read(&path).with_context(|| format!("no copy at {}", path.display()))?;
        let ours = self.client.raw(id).await?;
        ensure!(
            ours == theirs,
            "{id}: {} bytes in relayd, {} at the node, or not the same",
            ours.len(),
            theirs.len()
        );
        let report = aegir_transcript::verify(&path)?;
        ensure!(report.matches && report.torn.is_none(), "{id}: {report:?}");
        Ok(())
    }

    /// The pids of an attempt's runner and of its child.
    pub(crate) async fn runner_of(&self, id: &str) -> Result<(i32, i32)> {
        let directory = self.attempt_directory(id);
        let child: Value = serde_json::from_slice(&std::fs::read(directory.join("child.json"))?)?;
        let child = i32::try_from(child["group"].as_i64().context("no process group in child.json")?)?;
        let needle = directory.canonicalize()?;
        let runner = processes()
            .find(|(_, line)| line.contains("\0runner\0") && line.contains(&*needle.to_string_lossy()))
            .context("no runner")?;
        Ok((runner.0, child))
    }

    pub(crate) fn kill(&self, pid: i32) -> Result<()> {
        Ok(kill_process(Pid::from_raw(pid).context("not a pid")?, Signal::KILL)?)
    }

    /// Whether a process group's leader is gone, or only waits to be reaped.
    pub(crate) fn is_gone(&self, pid: i32) -> Result<()> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        ensure!(stat.is_empty() || stat.contains(") Z "), "{pid} still runs: {stat}");
        Ok(())
    }

    /// What the command line says, which must end well.
    pub(crate) async fn aegir(&self, words: &[&str]) -> Result<String> {
        let mut aegir = self.cluster.aegir(words)?;
        let said = spawn_blocking(move || aegir.output()).await??;
        ensure!(said.status.success(), "{words:?}: {said:?}");
        Ok(String::from_utf8(said.stdout)?)
    }

    pub(crate) async fn post_text(&self, path: &str, body: String) -> Result<(u16, Value)> {
        let client = self.cluster.relayd.client();
        let request = client.request(Method::POST, path).header("content-type", "application/json");
        let answer = client.answer(request.body(body)).await?;
        Ok((answer.status.as_u16(), answer.json()?))
    }

    /// Every queue that a stranger could write to.
    pub(crate) fn queues(&self) -> Vec<(&'static str, &str)> {
        use aegir_amqp::topology;
        let name = self.cluster.name.as_str();
        vec![
            (topology::REQUESTS, name),
            (topology::OPERATIONS, name),
            (topology::TRANSCRIPTS, name),
            (topology::CONTROL, self.cluster.dispatcherd.node()),
        ]
    }

    pub(crate) async fn put(&self, (exchange, key): (&'static str, &str), body: &[u8]) -> Result<()> {
        let outgoing = Outgoing::new(exchange, key, body.to_vec());
        Ok(self.tap.link.publisher().publish(outgoing).await?)
    }

    /// The code and the body of the next dead letter, which is dropped.
    pub(crate) async fn dead_letter(&self) -> Result<(String, Vec<u8>)> {
        let next = async {
            loop {
                let (_, list) = self.cluster.relayd.get("/api/v1/dead?limit=1").await?;
                if let Some(id) = list["letters"][0]["id"].as_u64() {
                    return anyhow::Ok(id);
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let id = timeout(Duration::from_secs(20), next).await.context("nothing was buried")??;
        let path = format!("/api/v1/dead/{id}");
        let (_, detail) = self.cluster.relayd.get(&path).await?;
        let detail: DeadLetterDetail = serde_json::from_value(detail)?;
        ensure!(!detail.letter.reason.is_empty(), "no reason");
        self.cluster.relayd.client().delete(&path).await?;
        let body = detail.bytes()?;
        Ok((detail.letter.code, body))
    }

    pub(crate) async fn fetch(&self, site: &str, path: &str) -> Result<(u16, Vec<u8>)> {
        self.cluster.nginx.fetch(site, path).await
    }

    /// A directory of files below the content root; its path.
    pub(crate) fn content(&self, name: &str, files: &[(&str, &str)]) -> Result<String> {
        let directory = self.cluster.content_root().join(name);
        std::fs::create_dir_all(&directory)?;
        for (file, text) in files {
            let path = directory.join(file);
            std::fs::create_dir_all(path.parent().context("no parent")?)?;
            std::fs::write(path, text)?;
        }
        let Some(path) = directory.to_str() else { bail!("not UTF-8") };
        Ok(path.to_owned())
    }
}

fn processes() -> impl Iterator<Item = (i32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).into_owned()))
    })
}

/// Whether a process with exactly this command line (arguments end with NUL) runs.
pub(crate) fn runs(command_line: &str) -> bool {
    processes().any(|(_, line)| line == command_line)
}
