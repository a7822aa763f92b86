//! HTTP/1.1, as much of it as kubectl speaks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};

use super::requests;
use super::store::SharedStore;

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

pub(crate) fn serve(stream: TcpStream, shared: &SharedStore, stop: &AtomicBool) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        if request.query.get("watch").is_some_and(|watch| watch == "true" || watch == "1") {
            let _ = requests::watch(&request, shared, stop, &mut Chunks(&stream));
            return;
        }
        send(&stream, &requests::answer(&request, shared));
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<HttpRequest> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&read| read > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(": ") else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    Some(HttpRequest { method, path: decoded(path), query, body })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code =
            after.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn send(mut stream: &TcpStream, response: &HttpResponse) {
    let HttpResponse { status, kind, body } = response;
    let head =
        format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
}

/// The body of an answer that has no end yet.
pub(crate) struct Chunks<'a>(&'a TcpStream);

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
