//! Does anybody answer at the broker's address?
//!
//! lapin has no time limit for its handshake, and giving up on one leaves its thread and socket behind until
//! the peer ends the connection. So after an attempt that timed out we ask with a socket of our own first, and
//! a broker that hangs for a day costs one thread and not thousands.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use lapin::uri::{AMQPScheme, AMQPUri};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Opens a connection, says what a client says first, and waits for the first byte of an answer.
pub(crate) async fn probe(uri: &AMQPUri, limit: Duration) -> io::Result<()> {
    let greeting = match uri.scheme {
        AMQPScheme::AMQP => b"AMQP\x00\x00\x09\x01".to_vec(),
        AMQPScheme::AMQPS => client_hello(&uri.authority.host)?,
    };
    let exchange = async {
        let mut stream = TcpStream::connect((uri.authority.host.as_str(), uri.authority.port)).await?;
        stream.write_all(&greeting).await?;
        let mut first = [0];
        stream.read_exact(&mut first).await.map(drop)
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn client_hello(host: &str) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    // Nothing is verified, for nothing is said: the connection ends after the first byte.
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut hello = Vec::new();
    connection.write_tls(&mut hello)?;
    Ok(hello)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_accepts_and_says_nothing_is_not_a_broker() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let uri: AMQPUri = format!("amqp://127.0.0.1:{port}/%2f").parse().unwrap();
        let error = probe(&uri, Duration::from_millis(200)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn the_tls_greeting_is_a_handshake_record() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        assert_eq!(client_hello("broker.example").unwrap()[..2], [22, 3]);
    }
}
