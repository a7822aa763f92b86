//! What a broker says about itself before anybody logs in. lapin reads it and keeps it to itself.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::io::{AsyncReadExt as _, AsyncWriteExt as _};
use lapin::protocol::{AMQPClass, connection::AMQPMethod, parse_class};
use lapin::tcp::AMQPUriTcpExt as _;
use lapin::types::{AMQPValue, FieldTable};

use crate::config::BrokerConfig;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(5);
/// AMQP 0-9-1's longest frame before anything else was agreed on is 4096 bytes; brokers with many mechanisms take more.
const LONGEST: u32 = 64 * 1024;
/// A method frame, on the connection itself.
const METHOD: u8 = 1;
/// What this crate relies on.
const NEEDED: [&str; 4] =
    ["basic.nack", "connection.blocked", "consumer_cancel_notify", "publisher_confirms"];

/// What a broker says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerProperties {
    /// `RabbitMQ`.
    pub product: String,
    /// `3.10.8`.
    pub version: String,
    /// `Erlang/OTP 25.2.3`.
    pub platform: String,
    /// What it can do, in the names of the protocol's extensions.
    pub capabilities: Vec<String>,
}

impl ServerProperties {
    fn new(properties: &FieldTable) -> Self {
        let text = |name: &str| match properties.inner().get(name) {
            Some(AMQPValue::LongString(text)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
            _ => "unknown".to_owned(),
        };
        let capabilities = match properties.inner().get("capabilities") {
            Some(AMQPValue::FieldTable(table)) => {
                let can = table.inner().iter().filter(|(_, value)| **value == AMQPValue::Boolean(true));
                can.map(|(name, _)| name.to_string()).collect()
            }
            _ => Vec::new(),
        };
        Self { product: text("product"), version: text("version"), platform: text("platform"), capabilities }
    }

    /// What we rely on and it can't do.
    #[must_use]
    pub fn lacks(&self) -> Vec<&'static str> {
        NEEDED.into_iter().filter(|needed| !self.capabilities.iter().any(|can| can == needed)).collect()
    }

    /// Whether it is RabbitMQ before 3.10, whose quorum queues lack what we rely on.
    #[must_use]
    pub fn is_too_old(&self) -> bool {
        let mut numbers = self.version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        self.product == "RabbitMQ" && (numbers.next(), numbers.next()) < (Some(3), Some(10))
    }
}

impl fmt::Display for ServerProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} on {}, can {}",
            self.product,
            self.version,
            self.platform,
            self.capabilities.join(", ")
        )
    }
}

impl BrokerConfig {
    /// Asks the broker who it is, on a connection of its own that ends before anybody logs in.
    ///
    /// # Errors
    ///
    /// When it can't be reached, or answers with something else.
    pub async fn greeting(&self) -> io::Result<ServerProperties> {
        let asked = tokio::time::timeout(LIMIT, self.ask());
        asked.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask(&self) -> io::Result<ServerProperties> {
        let target = self.target().map_err(io::Error::other)?;
        let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
        let mut stream = target.uri.connect_with_config_async(target.tls.as_ref(), &runtime).await?;
        stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
        stream.flush().await?;
        let mut head = [0; 7];
        stream.read_exact(&mut head).await?;
        let [kind, _, _, size @ ..] = head;
        let size = u32::from_be_bytes(size);
        if kind != METHOD || size > LONGEST {
            return Err(io::Error::other("it does not speak AMQP 0-9-1"));
        }
        let mut payload = vec![0; size as usize];
        stream.read_exact(&mut payload).await?;
        match parse_class(payload.as_slice()) {
            Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) => {
                Ok(ServerProperties::new(&start.server_properties))
            }
            Ok(_) | Err(_) => Err(io::Error::other("it greets with something else than AMQP 0-9-1's start")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_testkit::Broker;

    #[tokio::test]
    async fn a_broker_says_who_it_is_and_can_do_what_we_need() {
        let broker = Broker::for_tests().await.unwrap();
        let greeting = BrokerConfig::from_url(broker.url()).greeting().await.unwrap();
        assert_eq!(greeting.product, "RabbitMQ");
        assert!(greeting.version.split('.').count() >= 3, "{greeting}");
        assert!(greeting.platform.starts_with("Erlang/OTP"), "{greeting}");
        assert_eq!(greeting.lacks(), Vec::<&str>::new());
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        let old = |version: &str| {
            let (product, platform) = ("RabbitMQ".to_owned(), String::new());
            ServerProperties { product, version: version.to_owned(), platform, capabilities: Vec::new() }
                .is_too_old()
        };
        assert!(old("3.9.29") && old("2.8.7"));
        assert!(!old("3.10.8") && !old("3.13.0") && !old("4.0.5"));
    }

    #[tokio::test]
    async fn something_else_at_that_port_is_said() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream
        });
        let config = BrokerConfig::from_url(&format!("amqp://127.0.0.1:{port}/%2f"));
        assert!(config.greeting().await.unwrap_err().to_string().contains("AMQP 0-9-1"));
        drop(answer.await.unwrap());
    }
}
