//! relayd's API, as a frontend would use it: requests are JSON, none of our own types.

use std::time::Duration;

use aegir_api::OperationDetail;
use aegir_client::Method;
use aegir_client::client::WholeAnswer;
use aegir_protocol::state::State;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// How long an Operation of these tests may take before something is wrong.
const DEADLINE: Duration = Duration::from_secs(90);
/// How long an answer may take, on a machine that does much else.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A frontend.
#[derive(Clone)]
pub(crate) struct Client(aegir_client::Client);

impl Client {
    pub(crate) fn new(client: &aegir_client::Client) -> Self {
        Self(client.clone().timeout(TIMEOUT))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<WholeAnswer> {
        let request = self.0.request(Method::GET, path);
        self.0.answer(request).await.with_context(|| format!("GET {path}"))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<WholeAnswer> {
        let request = self.0.request(Method::POST, path).json(body);
        self.0.answer(request).await.with_context(|| format!("POST {path}"))
    }

    /// Submits, and gives the new Operation's id.
    pub(crate) async fn submit(&self, request: &Value) -> Result<String> {
        let accepted = self.0.submit(request, None).await?;
        ensure!(!accepted.repeated, "there was {} before", accepted.id);
        Ok(accepted.id.to_string())
    }

    /// Submits what must be refused, and gives status and problem.
    pub(crate) async fn refused(&self, request: &Value) -> Result<(u16, Value)> {
        let answer = self.post("/api/v1/operations", request).await?;
        let body: Value = answer.json()?;
        ensure!(answer.status.as_u16() >= 400, "it was accepted: {body:#}");
        Ok((answer.status.as_u16(), body))
    }

    pub(crate) async fn operation(&self, id: &str) -> Result<OperationDetail> {
        Ok(self.0.operation(id.parse()?).await?)
    }

    /// Waits until the Operation is as wanted.
    pub(crate) async fn until(
        &self,
        id: &str,
        wanted: impl Fn(&OperationDetail) -> bool,
    ) -> Result<OperationDetail> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let detail = self.operation(id).await?;
            if wanted(&detail) {
                return Ok(detail);
            }
            if Instant::now() > deadline {
                let transcript = self.text(id).await.unwrap_or_default();
                bail!("not in time: {detail:#?}\n{transcript}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end, and for the whole transcript where there is one.
    pub(crate) async fn ended(&self, id: &str) -> Result<OperationDetail> {
        self.until(id, |detail| {
            detail.summary.state.outcome().is_some()
                && detail.attempts.iter().all(|attempt| {
                    attempt.transcript_complete || attempt.transcript_bytes == 0 || attempt.outcome.is_none()
                })
        })
        .await
    }

    /// Runs it to a successful end.
    pub(crate) async fn succeeds(&self, request: &Value) -> Result<String> {
        let id = self.submit(request).await?;
        let detail = self.ended(&id).await?;
        if detail.summary.state != State::Succeeded {
            bail!("{:?}\n{}", detail.summary, self.text(&id).await?);
        }
        Ok(id)
    }

    /// Runs it to a failure, and gives the code of its reason.
    pub(crate) async fn fails(&self, request: &Value) -> Result<(String, String)> {
        let id = self.submit(request).await?;
        let detail = self.ended(&id).await?;
        if detail.summary.state != State::Failed {
            bail!("{:?}\n{}", detail.summary, self.text(&id).await?);
        }
        let reason = detail.summary.reason.context("a failure without a reason")?;
        Ok((id, reason.code))
    }

    /// Asks something of an Operation that must be granted.
    pub(crate) async fn ask(&self, id: &str, action: &str) -> Result<()> {
        let answer = self.post(&format!("/api/v1/operations/{id}/{action}"), &json!({})).await?;
        ensure!(answer.status == 202, "{action}: {answer:?}");
        Ok(())
    }

    /// relayd's copy of the transcript of the last attempt.
    pub(crate) async fn raw(&self, id: &str) -> Result<Vec<u8>> {
        self.raw_of(id, None).await
    }

    /// The same of any attempt.
    pub(crate) async fn raw_of(&self, id: &str, attempt: Option<u32>) -> Result<Vec<u8>> {
        let attempt = attempt.map(|attempt| format!("?attempt={attempt}")).unwrap_or_default();
        Ok(self.0.bytes(&format!("/api/v1/operations/{id}/transcript/raw{attempt}")).await?.into())
    }

    pub(crate) async fn text(&self, id: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.raw(id).await?).into_owned())
    }

    /// What a child printed, rebuilt by relayd.
    pub(crate) async fn output(&self, id: &str, task: u32, stream: &str) -> Result<Vec<u8>> {
        let path = format!("/api/v1/operations/{id}/output?task={task}&stream={stream}");
        Ok(self.0.bytes(&path).await?.into())
    }
}
