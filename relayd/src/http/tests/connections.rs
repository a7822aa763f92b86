//! Clients that are slow, too many, or speak no HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use aegir_protocol::record::Stream;
use axum::body::Body;
use futures_util::stream;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{DEADLINE, HttpState, problem};
use crate::http::{ConnectionLimits, Listeners, serve};

/// A relayd with these limits: where it answers.
async fn listen(site: &HttpState, limits: ConnectionLimits) -> SocketAddr {
    let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
    let address = listeners.address().unwrap();
    tokio::spawn(serve(listeners, site.services.clone(), limits, site.stop.clone()));
    address
}

fn patient() -> ConnectionLimits {
    ConnectionLimits { connections: 64, head: DEADLINE * 2, stall: DEADLINE * 2 }
}

/// All that is answered to these bytes, up to the end of the connection.
async fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut answer = Vec::new();
    // The answer may come, and the connection end, before all is sent.
    let exchange = async { tokio::join!(write.write_all(request), read.read_to_end(&mut answer)) };
    timeout(DEADLINE, exchange).await.unwrap().1.unwrap();
    String::from_utf8(answer).unwrap()
}

#[track_caller]
fn check(answer: &str, status: u16, code: &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    for header in ["content-type: application/problem+json", "connection: close", "x-request-id: "] {
        assert!(head.contains(header), "{head}");
    }
    let problem: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{problem}");
    assert!(problem["type"].as_str().unwrap().ends_with(code));
}

#[tokio::test]
async fn what_hyper_refuses_is_a_problem_too() {
    let site = HttpState::new().await;
    let address = listen(&site, patient()).await;
    let long = "x".repeat(128 * 1024);
    let endless = "x".repeat(512 * 1024);
    let many: String = (0..120).map(|number| format!("x-{number}: y\r\n")).collect();
    for (request, status, code) in [
        ("nonsense\r\n\r\n".to_owned(), 400, "request_malformed"),
        ("GET /healthz HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "request_malformed"),
        ("GET /a b HTTP/1.1\r\n\r\n".to_owned(), 400, "request_malformed"),
        ("POST /x HTTP/1.1\r\ncontent-length: many\r\n\r\n".to_owned(), 400, "request_malformed"),
        ("\u{16}\u{3}\u{1}TLS\r\n\r\n".to_owned(), 400, "request_malformed"),
        (format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"), 414, "uri_too_long"),
        (format!("GET /{endless}"), 414, "uri_too_long"),
        (format!("GET /healthz HTTP/1.1\r\nx: {long}\r\n\r\n"), 431, "headers_too_large"),
        (format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), 431, "headers_too_large"),
    ] {
        check(&answer(address, request.as_bytes()).await, status, code);
    }
    // As the second request of a connection, too.
    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n";
    let both = answer(address, request.as_bytes()).await;
    let (first, second) = both.split_once("ok\n").unwrap();
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{both}");
    check(second, 400, "request_malformed");
}

#[tokio::test]
async fn slow_heads_and_idle_connections_end() {
    let site = HttpState::new().await;
    let limits = ConnectionLimits { head: Duration::from_millis(300), ..patient() };
    let address = listen(&site, limits).await;
    // A head that does not end, and no head at all.
    assert_eq!(answer(address, b"GET /healthz HTTP/1.1\r\nx: ").await, "");
    assert_eq!(answer(address, b"").await, "");
    let kept = answer(address, b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200 OK\r\n"), "{kept}");
    // A stream lives on, though it has nothing to say for longer than that.
    let id = site.submit().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/operations/{id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        site.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(": ping") {
        let mut bytes = [0; 4096];
        let count = timeout(DEADLINE, stream.read(&mut bytes)).await.unwrap().unwrap();
        assert_ne!(count, 0, "it ended: {seen}");
        seen.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_for_one_to_end() {
    let site = HttpState::new().await;
    let address = listen(&site, ConnectionLimits { connections: 2, ..patient() }).await;
    let open = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let mut third = Box::pin(answer(address, request));
    assert!(timeout(Duration::from_millis(300), &mut third).await.is_err(), "it was answered");
    drop(open);
    assert!(third.await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let site = HttpState::new().await;
    let line = vec![b'x'; 60 * 1024];
    // More than the system's buffers hold.
    let outputs = vec![(Stream::Stdout, &line[..]); 16];
    let (id, _) = site.finished(&outputs).await;
    let address = listen(&site, ConnectionLimits { stall: Duration::from_millis(300), ..patient() }).await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/operations/{id}/transcript HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        site.token
    );
    for _ in 0..16 {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    // Nothing is read until relayd has ended the connection: writing fails then.
    let ended = async {
        while stream.write_all(b"\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, ended).await.expect("the connection to end");
}

#[tokio::test]
async fn a_body_that_stops_is_told_so() {
    let site = HttpState::new().await;
    tokio::time::pause();
    let body = Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let response = site.ask("POST", "/api/v1/operations", body).await;
    assert_eq!(problem(response).await, (408, "request_timeout".to_owned(), None));
}

#[tokio::test]
async fn bodies_on_their_way_take_no_more_room_than_there_is() {
    let site = HttpState::new().await;
    tokio::time::pause();
    let post = async |body| site.ask("POST", "/api/v1/operations", body).await;
    let slow = futures_util::future::join_all(
        (0..32).map(|_| post(Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>()))),
    );
    let begin = tokio::time::Instant::now();
    let next = async { (problem(post(Body::from("{")).await).await, begin.elapsed()) };
    let (_, (answer, waited)) = tokio::join!(slow, next);
    assert_eq!(answer, (400, "request_malformed".to_owned(), None));
    assert!(waited >= Duration::from_secs(15), "{waited:?}");
}
