//! Asking relayd, and reading its answer.

use std::time::Duration;

use aegir_api::OperationDetail;
use aegir_protocol::id::OperationId;
use aegir_protocol::problem::Problem;
use aegir_protocol::request::Accepted;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::address::RelaydAddress;
use crate::error::{ClientError, chain};

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take unless said otherwise.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two times that a patient client asks.
const INTERVAL: Duration = Duration::from_millis(100);

/// A relayd, and the right to ask it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: RelaydAddress,
    timeout: Duration,
    patience: Duration,
}

/// An answer that is read to its end.
#[derive(Debug)]
pub struct WholeAnswer {
    /// What relayd thinks of the request.
    pub status: StatusCode,
    /// What it says.
    pub body: Bytes,
    url: Url,
}

impl Client {
    /// Connects to nothing yet. Without a token it asks as anybody may.
    ///
    /// # Errors
    /// When this can't be a token.
    pub fn new(address: RelaydAddress, token: Option<&str>) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| ClientError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("aegir/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(headers)
            // The token goes to the relayd that was named, and to nobody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let RelaydAddress::Unix(socket) = &address {
            builder = builder.unix_socket(socket.as_path());
        }
        if !address.is_encrypted() {
            // Whom a system trusts is nobody's business then, and in small containers there is nobody.
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| ClientError::SetUp(chain(&error)))?;
        Ok(Self { http, address, timeout: ANSWER_TIMEOUT, patience: Duration::ZERO })
    }

    /// Waits so long for an answer that is no stream.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks again for so long while relayd is away or not ready, where an answer is no stream.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Where relayd is.
    #[must_use]
    pub fn address(&self) -> &RelaydAddress {
        &self.address
    }

    /// A request, not sent yet. `path` starts with a slash and may have a query.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.address.url(path))
    }

    /// Sends a request and waits for the head of its answer, unless that is a refusal.
    pub(crate) async fn stream(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.whole(response).await?.refusal())
    }

    /// Sends a request and reads its answer, whatever that is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn answer(&self, request: RequestBuilder) -> Result<WholeAnswer, ClientError> {
        let request = request.timeout(self.timeout);
        let end = Instant::now() + self.patience;
        loop {
            let sent = request.try_clone().expect("no body is a stream").send().await;
            let answer = match sent {
                Ok(response) => self.whole(response).await,
                Err(error) => Err(self.unreachable(&error)),
            };
            if answer.as_ref().is_ok_and(|answer| !answer.status.is_server_error()) || Instant::now() >= end {
                return answer;
            }
            sleep(INTERVAL).await;
        }
    }

    async fn whole(&self, response: Response) -> Result<WholeAnswer, ClientError> {
        let (status, url) = (response.status(), response.url().clone());
        let body = match response.bytes().await {
            Ok(body) => body,
            // A refusal that broke off is one.
            Err(_) if !status.is_success() => Bytes::new(),
            Err(error) => return Err(self.unreachable(&error)),
        };
        Ok(WholeAnswer { status, body, url })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        let connected = !error.is_connect();
        ClientError::Unreachable { address: self.address.to_string(), message: chain(error), connected }
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// When nobody answers, the answer is a refusal, or it is not such a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, path)).await?.accepted()?.json()
    }

    /// Asks for bytes that the memory has room for.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal.
    pub async fn bytes(&self, path: &str) -> Result<Bytes, ClientError> {
        Ok(self.answer(self.request(Method::GET, path)).await?.accepted()?.body)
    }

    /// Sends a JSON document and reads one.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + ?Sized),
    ) -> Result<T, ClientError> {
        self.answer(self.request(Method::POST, path).json(body)).await?.accepted()?.json()
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.answer(self.request(Method::DELETE, path)).await?.accepted().map(drop)
    }

    /// Asks for an Operation. With a key it is one, however often this is sent.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn submit(&self, request: &impl Serialize, key: Option<&str>) -> Result<Accepted, ClientError> {
        let mut http = self.request(Method::POST, "/api/v1/operations").json(request);
        if let Some(key) = key {
            http = http.header("Idempotency-Key", key);
        }
        self.answer(http).await?.accepted()?.json()
    }

    /// An Operation with all that is known of it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn operation(&self, id: OperationId) -> Result<OperationDetail, ClientError> {
        self.get(&format!("/api/v1/operations/{id}")).await
    }
}

impl WholeAnswer {
    /// The same, unless it is a refusal.
    fn accepted(self) -> Result<Self, ClientError> {
        if self.status.is_success() { Ok(self) } else { Err(self.refusal()) }
    }

    /// The JSON document that it holds.
    ///
    /// # Errors
    /// When it is not such a document.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let query = self.url.query().map(|query| format!("?{query}")).unwrap_or_default();
            let what = format!("{}{query}", self.url.path());
            ClientError::Answer { what, message: error.to_string() }
        })
    }

    fn refusal(&self) -> ClientError {
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => ClientError::Refused(Box::new(problem)),
            Err(_) => ClientError::Answer {
                what: self.url.path().to_owned(),
                message: format!("it is {} without a reason", self.status),
            },
        }
    }
}
