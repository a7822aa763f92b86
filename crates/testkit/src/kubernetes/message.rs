//! What is asked over HTTP, and what is answered.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

pub(crate) struct HttpRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) body: Vec<u8>,
}

impl HttpResponse {
    pub(crate) fn json(status: u16, value: &Value) -> Self {
        Self { status, kind: "application/json", body: value.to_string().into_bytes() }
    }

    /// The API's own way to say no.
    pub(crate) fn no(status: u16, reason: &str, message: &str) -> Self {
        let value = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": status});
        Self::json(status, &value)
    }
}

/// The body of an answer that has no end yet.
pub(crate) struct Chunks<'a>(pub(super) &'a TcpStream);

impl Chunks<'_> {
    pub(crate) fn begin(&mut self) -> std::io::Result<()> {
        self.0.write_all(
            b"HTTP/1.1 200 -\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        )
    }

    pub(crate) fn chunk(&mut self, value: &Value) -> std::io::Result<()> {
        let text = format!("{value}\n");
        self.0.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes())
    }

    pub(crate) fn end(&mut self) -> std::io::Result<()> {
        self.0.write_all(b"0\r\n\r\n")
    }
}
