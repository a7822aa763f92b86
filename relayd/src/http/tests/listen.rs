//! Real sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegir_protocol::record::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::{DEADLINE, HttpState, transcript};
use crate::http::{ConnectionLimits, ListenError, Listeners, serve};

const LOOPBACK: &str = "127.0.0.1:0";

async fn bind(socket: &Path) -> Result<Listeners, ListenError> {
    Listeners::bind(LOOPBACK.parse().unwrap(), Some(socket)).await
}

/// What comes back up to the end of the connection.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn output_that_can_not_be_rebuilt_breaks_off_before_its_last_chunk() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    site.claim(id).await;
    // More than one piece of the reader before the line that is no record.
    let outputs = vec![(Stream::Stdout, &[b'x'; 60 * 1024][..]); 8];
    let mut lines = transcript(id, &outputs);
    lines[8] = b"nonsense\n".to_vec();
    // What arrives damaged is asked for once more, and then kept as it came.
    for _ in 0..2 {
        site.chunk(id, 0, &lines.concat()).await;
    }
    let listeners = Listeners::bind(LOOPBACK.parse().unwrap(), None).await.unwrap();
    let address = listeners.address().unwrap();
    let serving =
        tokio::spawn(serve(listeners, site.services.clone(), ConnectionLimits::new(16), site.stop.clone()));
    let get = async |path: &str| {
        let request = format!(
            "GET /api/v1/operations/{id}/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
             connection: close\r\n\r\n",
            site.token
        );
        exchange(TcpStream::connect(address).await.unwrap(), &request).await
    };
    let broken = get("output").await;
    assert!(broken.starts_with("HTTP/1.1 200 OK\r\n") && broken.contains("transfer-encoding: chunked\r\n"));
    assert!(broken.contains("aegir-transcript-complete: false\r\n"));
    assert!(broken.contains("xxx") && !broken.ends_with("0\r\n\r\n"), "it looks whole");
    let whole = get("transcript/raw").await;
    assert!(whole.contains("nonsense") && whole.ends_with("\r\n0\r\n\r\n"));
    site.stop.cancel();
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn both_sockets_answer_until_relayd_stops() {
    let site = HttpState::new().await;
    let id = site.submit().await;
    let socket = site.directory.path().join("api.sock");
    // What a killed relayd leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let listeners = bind(&socket).await.unwrap();
    let address = listeners.address().unwrap();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let serving =
        tokio::spawn(serve(listeners, site.services.clone(), ConnectionLimits::new(16), site.stop.clone()));

    let request = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let over_tcp = exchange(TcpStream::connect(address).await.unwrap(), request).await;
    assert!(over_tcp.starts_with("HTTP/1.1 200 OK\r\n") && over_tcp.ends_with("ok\n"), "{over_tcp}");
    let over_unix = exchange(UnixStream::connect(&socket).await.unwrap(), request).await;
    assert!(over_unix.starts_with("HTTP/1.1 200 OK\r\n"), "{over_unix}");
    let unsigned = exchange(
        UnixStream::connect(&socket).await.unwrap(),
        "GET /api/v1/operations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(unsigned.starts_with("HTTP/1.1 401 "), "{unsigned}");

    // Somebody answers there now.
    assert!(matches!(bind(&socket).await, Err(ListenError::Unix { .. })));
    let taken = Listeners::bind(address, None).await;
    assert!(matches!(taken, Err(ListenError::Tcp { .. })));

    // A stream that is open does not hold up the end.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /api/v1/operations/{id}/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        site.token
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut first)).await.unwrap().unwrap();
    site.stop.cancel();
    tokio::time::timeout(DEADLINE, serving).await.unwrap().unwrap();
    assert!(!socket.exists());
}
