//! relayd's HTTP API, seen from here.

use std::time::Duration;

use aegir_api::{OperationDetail, OperationList};
use aegir_protocol::id::OperationId;
use aegir_protocol::problem::Problem;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::address::RelaydAddress;
use crate::arguments::Connection;
use crate::error::Error;

/// How long to wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that is not a stream may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many Operations are looked through at a time for an id that starts as was typed.
const PAGE: u32 = 500;

/// A relayd, and the right to ask it.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: RelaydAddress,
}

impl Client {
    /// Reads the token; connects to nothing yet.
    ///
    /// # Errors
    /// When the token's file can't be read.
    pub fn new(connection: &Connection) -> Result<Self, Error> {
        let path = &connection.token_file;
        let token =
            std::fs::read_to_string(path).map_err(|source| Error::Token { path: path.clone(), source })?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(|_| {
            Error::file(path, "this is not a token: one line of letters and digits is expected".to_owned())
        })?;
        value.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("aegir/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]))
            // The token goes to the relayd that was named, and to nobody else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let RelaydAddress::Unix(socket) = &connection.url {
            builder = builder.unix_socket(socket.as_path());
        }
        if !connection.url.is_encrypted() {
            // Whom a system trusts is nobody's business then, and in small containers there is nobody.
            builder = builder.tls_certs_only([]);
        }
        let http =
            builder.build().map_err(|error| Error::Usage(format!("can't set up HTTP: {}", chain(&error))))?;
        Ok(Self { http, address: connection.url.clone() })
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

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    /// An answer, unless it is a refusal.
    ///
    /// # Errors
    /// The refusal.
    pub async fn checked(&self, response: Response) -> Result<Response, Error> {
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// The error of a request that got no answer.
    #[must_use]
    pub fn unreachable(&self, error: &reqwest::Error) -> Error {
        Error::Unreachable { address: self.address.to_string(), message: chain(error) }
    }

    /// Asks for a JSON document.
    ///
    /// # Errors
    /// When nobody answers, the answer is a refusal, or it is not such a document.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.send(self.request(Method::GET, path).timeout(ANSWER_TIMEOUT)).await?;
        self.document(path, response).await
    }

    /// Sends a JSON document and reads one.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        timeout: Duration,
    ) -> Result<T, Error> {
        let response = self.send(self.request(Method::POST, path).json(body).timeout(timeout)).await?;
        self.document(path, response).await
    }

    /// Asks for something to be removed.
    ///
    /// # Errors
    /// When nobody answers, or the answer is a refusal.
    pub async fn delete(&self, path: &str) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, path).timeout(ANSWER_TIMEOUT)).await.map(drop)
    }

    /// The JSON document that an answer holds.
    ///
    /// # Errors
    /// When the connection breaks, or it is not such a document.
    pub async fn document<T: DeserializeOwned>(&self, what: &str, response: Response) -> Result<T, Error> {
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Answer { what: what.to_owned(), message: error.to_string() })
    }

    /// An Operation with all that is known of it.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn operation(&self, id: OperationId) -> Result<OperationDetail, Error> {
        self.get(&format!("/api/v1/operations/{id}")).await
    }

    /// The Operation that a person means: a whole id, the start of one, or `latest`.
    ///
    /// # Errors
    /// When there is none, or more than one.
    pub async fn resolve(&self, text: &str) -> Result<OperationId, Error> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        if text == "latest" {
            let list: OperationList = self.get("/api/v1/operations?limit=1").await?;
            return list.operations.first().map(|operation| operation.id).ok_or(Error::NoneYet);
        }
        let prefix = Prefix::parse(text)?;
        let mut fitting: Vec<OperationId> = Vec::new();
        let mut path = format!("/api/v1/operations?limit={PAGE}");
        loop {
            let list: OperationList = self.get(&path).await?;
            let ids = list.operations.iter().map(|operation| operation.id);
            fitting.extend(ids.clone().filter(|id| prefix.fits(id)));
            let passed = ids.clone().all(|id| prefix.is_behind(&id));
            match list.next {
                Some(next) if fitting.len() < 2 && !passed => {
                    path = format!("/api/v1/operations?limit={PAGE}&before={next}");
                }
                Some(_) | None => return prefix.choose(&fitting),
            }
        }
    }
}

/// The start of an id: hexadecimal digits.
#[derive(Debug, PartialEq, Eq)]
struct Prefix(String);

impl Prefix {
    fn parse(text: &str) -> Result<Self, Error> {
        let digits: String = text.chars().filter(|&c| c != '-').map(|c| c.to_ascii_lowercase()).collect();
        if (1..=32).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit()) {
            Ok(Self(digits))
        } else {
            let message = format!(
                "{:?} is not an Operation's id: give one, the start of one, or `latest`",
                text.chars().take(64).collect::<String>()
            );
            Err(Error::Usage(message))
        }
    }

    fn fits(&self, id: &OperationId) -> bool {
        digits(id).starts_with(&self.0)
    }

    /// Whether this one is older than every one that fits. Ids sort by time, and lists start with the newest,
    /// so a page of such ends the search.
    fn is_behind(&self, id: &OperationId) -> bool {
        digits(id)[..self.0.len()] < *self.0
    }

    fn choose(&self, fitting: &[OperationId]) -> Result<OperationId, Error> {
        match fitting {
            [] => Err(Error::NoSuchPrefix(self.0.clone())),
            [id] => Ok(*id),
            [first, second, ..] => {
                let ids = vec![first.to_string(), second.to_string()];
                Err(Error::Ambiguous { prefix: self.0.clone(), ids })
            }
        }
    }
}

fn digits(id: &OperationId) -> String {
    id.as_uuid().as_simple().to_string()
}

async fn refusal(response: Response) -> Error {
    let status = response.status();
    let path = response.url().path().to_owned();
    let bytes = response.bytes().await.unwrap_or_default();
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => Error::Refused(Box::new(problem)),
        Err(_) => Error::Answer { what: path, message: format!("it is {status} without a reason") },
    }
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stands_for_one_operation_or_says_why_not() {
        let id = |text: &str| text.parse::<OperationId>().unwrap();
        let one = id("019235f0-7a3c-7def-8000-000000000001");
        let two = id("019235f0-7a3d-7def-8000-000000000001");
        let older = id("019235f0-7000-7def-8000-000000000001");
        let prefix = Prefix::parse("019235F0-7a3").unwrap();
        assert!(prefix.fits(&one) && prefix.fits(&two) && !prefix.fits(&older));
        assert!(prefix.is_behind(&older) && !prefix.is_behind(&one));
        assert_eq!(prefix.choose(&[one]).unwrap(), one);
        assert!(matches!(prefix.choose(&[two, one]), Err(Error::Ambiguous { .. })));
        assert!(matches!(prefix.choose(&[]), Err(Error::NoSuchPrefix(_))));
        for wrong in ["", "xyz", "last", "--", &"0".repeat(33)] {
            assert!(matches!(Prefix::parse(wrong), Err(Error::Usage(_))), "{wrong:?} was taken");
        }
    }
}
