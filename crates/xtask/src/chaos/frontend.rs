//! relayd's API, as a frontend uses it that knows that relayd may be away: it asks again.

use std::time::Duration;

use aegir_api::{OperationDetail, OperationList, OperationSummary};
use anyhow::{Context as _, bail};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long relayd may be away altogether, while there are faults.
const PATIENCE: Duration = Duration::from_secs(120);
const INTERVAL: Duration = Duration::from_millis(100);
/// How long one answer may take; a frozen relayd takes the request and says nothing.
const REQUEST: Duration = Duration::from_secs(5);
/// The same when all is mended: the machine may have much else to do.
const LONG_REQUEST: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub(super) struct Frontend {
    url: String,
    token: String,
    http: reqwest::Client,
    patience: Duration,
    request: Duration,
}

/// Status and body.
type Answer = (StatusCode, Vec<u8>);

impl Frontend {
    pub(super) fn new(url: String, token: String) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { url, token, http, patience: PATIENCE, request: REQUEST })
    }

    /// One that expects relayd to be there, and asks once.
    pub(super) fn after_all_faults(self) -> Self {
        Self { patience: Duration::ZERO, request: LONG_REQUEST, ..self }
    }

    async fn once(
        &self,
        method: &Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.url)).bearer_auth(&self.token);
        request = request.timeout(self.request);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.bytes().await?.to_vec()))
    }

    /// Asks until there is an answer that is not "later".
    async fn patiently(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let end = Instant::now() + self.patience;
        loop {
            let answer = self.once(&method, path, key, body).await;
            match answer {
                Ok((status, body)) if !status.is_server_error() => return Ok((status, body)),
                Ok((status, body)) if Instant::now() > end => {
                    bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&body))
                }
                Err(error) if Instant::now() > end => return Err(error.context(format!("{method} {path}"))),
                Ok(_) | Err(_) => sleep(INTERVAL).await,
            }
        }
    }

    /// Submits and gives the Operation's id.
    pub(super) async fn submit(&self, key: &str, request: &Value) -> anyhow::Result<String> {
        let (status, body) =
            self.patiently(Method::POST, "/api/v1/operations", Some(key), Some(request)).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match answer["id"].as_str() {
            Some(id) if status == StatusCode::CREATED || status == StatusCode::OK => Ok(id.to_owned()),
            _ => bail!("{key} was refused: {status}: {answer}"),
        }
    }

    /// Asks something of an Operation, and says whether it was taken.
    pub(super) async fn ask(&self, id: &str, action: &str) -> anyhow::Result<bool> {
        let path = format!("/api/v1/operations/{id}/{action}");
        let (status, body) =
            self.patiently(Method::POST, &path, None, Some(&Value::Object(Default::default()))).await?;
        match status {
            StatusCode::ACCEPTED => Ok(true),
            StatusCode::CONFLICT => Ok(false),
            _ => bail!("{action} {id}: {status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Vec<u8>> {
        let (status, body) = self.patiently(Method::GET, path, None, None).await?;
        if !status.is_success() {
            bail!("GET {path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }

    pub(super) async fn operation(&self, id: &str) -> anyhow::Result<OperationDetail> {
        let body = self.get(&format!("/api/v1/operations/{id}")).await?;
        serde_json::from_slice(&body).with_context(|| format!("the answer on {id}"))
    }

    /// Every Operation.
    pub(super) async fn operations(&self) -> anyhow::Result<Vec<OperationSummary>> {
        let list: OperationList = serde_json::from_slice(&self.get("/api/v1/operations?limit=500").await?)?;
        Ok(list.operations)
    }

    /// Those that have not ended; asked once, by somebody who goes on without an answer.
    pub(super) async fn under_way(&self) -> anyhow::Result<Vec<OperationSummary>> {
        let path = "/api/v1/operations?state=waiting,queued,claimed,running&limit=500";
        let (status, body) = self.once(&Method::GET, path, None, None).await?;
        if !status.is_success() {
            bail!("GET {path}: {status}");
        }
        Ok(serde_json::from_slice::<OperationList>(&body)?.operations)
    }

    pub(super) async fn raw(&self, id: &str, attempt: u32) -> anyhow::Result<Vec<u8>> {
        self.get(&format!("/api/v1/operations/{id}/transcript/raw?attempt={attempt}")).await
    }

    pub(super) async fn output(
        &self,
        id: &str,
        attempt: u32,
        task: u32,
        stream: &str,
    ) -> anyhow::Result<Vec<u8>> {
        let path = format!("/api/v1/operations/{id}/output?attempt={attempt}&task={task}&stream={stream}");
        self.get(&path).await
    }
}
