//! Opening a session: two connections, the topology, a channel for publishing.

use std::collections::HashMap;
use std::time::Duration;

use lapin::options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind, ExchangeKind};
use tokio::time::timeout;

use crate::config::{BrokerConfig, BrokerConfigError};
use crate::endpoint::Endpoint;
use crate::tls::advice;
use crate::topology::{Binding, Exchange, Lifetime, Queue, QueueArgument, Routing, Topology};

/// How long one step may take: a connection, a declaration.
pub(crate) const STEP: Duration = Duration::from_secs(15);
/// The reply code for a declaration whose arguments differ (AMQP 0-9-1, "precondition-failed").
const PRECONDITION_FAILED: u16 = 406;

/// The reply code for what is not there (AMQP 0-9-1, "not-found").
const NOT_FOUND: u16 = 404;

/// Why a session could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error(transparent)]
    BrokerConfig(#[from] BrokerConfigError),
    #[error("cannot connect: {0}")]
    Connect(#[source] lapin::Error),
    #[error("cannot connect: {source}; {advice}")]
    Tls { source: lapin::Error, advice: &'static str },
    #[error("the broker did not answer within {STEP:?} while we {0}")]
    Silent(&'static str),
    #[error("cannot declare {object}: {source}")]
    Declare { object: String, source: lapin::Error },
    #[error("{object} exists with other arguments: {error}")]
    Mismatch { object: String, error: String },
    #[error("cannot open a channel: {0}")]
    Channel(#[source] lapin::Error),
    #[error("{0} is longer than the 255 bytes that AMQP allows")]
    TooLong(String),
}

/// The names on the broker of the queues that live as long as the session, by those in the topology.
pub(crate) type Names = HashMap<String, String>;

/// An open session.
pub(crate) struct Opened {
    pub(crate) publishing: Connection,
    pub(crate) consuming: Connection,
    /// In confirm mode.
    pub(crate) channel: Channel,
    pub(crate) names: Names,
}

pub(crate) async fn open(
    config: &BrokerConfig,
    name: &str,
    topology: &Topology,
) -> Result<Opened, SessionError> {
    let target = config.target()?;
    let consuming = connect(&target, format!("{name} (consume)")).await?;
    let mut names = Names::new();
    declare(&consuming, topology, &mut names).await?;
    let publishing = connect(&target, format!("{name} (publish)")).await?;
    let channel = open_channel(&publishing).await?;
    let confirms = channel.confirm_select(ConfirmSelectOptions::default());
    within("asked for confirms", confirms).await?.map_err(SessionError::Channel)?;
    Ok(Opened { publishing, consuming, channel, names })
}

async fn connect(target: &Endpoint, name: String) -> Result<Connection, SessionError> {
    let properties = ConnectionProperties::default()
        .with_connection_name(name.into())
        .with_client_property("product".into(), "aegir".into())
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    let runtime = lapin::runtime::default_runtime().map_err(SessionError::Connect)?;
    let connecting =
        Connection::connect_uri_with_config(target.uri.clone(), properties, target.tls.clone(), runtime);
    within("connected", connecting).await?.map_err(|source| match source.kind() {
        ErrorKind::IOError(error) => match advice(error) {
            Some(advice) => SessionError::Tls { source, advice },
            None => SessionError::Connect(source),
        },
        _ => SessionError::Connect(source),
    })
}

pub(crate) async fn open_channel(connection: &Connection) -> Result<Channel, SessionError> {
    within("opened a channel", connection.create_channel()).await?.map_err(SessionError::Channel)
}

/// Declares everything on a channel of its own, which a refusal closes.
pub(crate) async fn declare(
    connection: &Connection,
    topology: &Topology,
    names: &mut Names,
) -> Result<(), SessionError> {
    let channel = open_channel(connection).await?;
    for exchange in &topology.exchanges {
        declare_exchange(&channel, exchange).await?;
    }
    for queue in &topology.queues {
        declare_queue(&channel, queue, names).await?;
    }
    for binding in &topology.bindings {
        bind(&channel, binding, names).await?;
    }
    let closing = channel.close(200, "declared".into());
    within("closed a channel", closing).await?.map_err(SessionError::Channel)
}

async fn declare_exchange(channel: &Channel, exchange: &Exchange) -> Result<(), SessionError> {
    let kind = match exchange.routing {
        Routing::Direct => ExchangeKind::Direct,
        Routing::Fanout => ExchangeKind::Fanout,
    };
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declaring = channel.exchange_declare(short(&exchange.name)?, kind, options, FieldTable::default());
    let outcome = within("declared an exchange", declaring).await?;
    outcome.map_err(|source| refused(format!("exchange {}", exchange.name), source))
}

async fn declare_queue(channel: &Channel, queue: &Queue, names: &mut Names) -> Result<(), SessionError> {
    let (name, options) = match queue.lifetime {
        Lifetime::Durable => (queue.name.clone(), QueueDeclareOptions::durable()),
        // A name of its own for every session: the broker may not have noticed the end of the last one yet,
        // and until it has, that session's exclusive queue is locked.
        Lifetime::Session => {
            let name = format!("{}.{}", queue.name, uuid::Uuid::new_v4().simple());
            names.insert(queue.name.clone(), name.clone());
            (name, QueueDeclareOptions::exclusive().auto_delete())
        }
    };
    let mut arguments = FieldTable::default();
    for (key, value) in &queue.arguments {
        let value = match value {
            QueueArgument::Text(text) => AMQPValue::LongString(text.as_str().into()),
            QueueArgument::Number(number) => AMQPValue::LongLongInt(*number),
        };
        arguments.insert(short(key)?, value);
    }
    let outcome =
        within("declared a queue", channel.queue_declare(short(&name)?, options, arguments)).await?;
    outcome.map(drop).map_err(|source| refused(format!("queue {}", queue.name), source))
}

async fn bind(channel: &Channel, binding: &Binding, names: &Names) -> Result<(), SessionError> {
    let Binding { exchange, queue, routing_key } = binding;
    let name = names.get(queue).unwrap_or(queue);
    let options = QueueBindOptions::default();
    let binding = channel.queue_bind(
        short(name)?,
        short(exchange)?,
        short(routing_key)?,
        options,
        FieldTable::default(),
    );
    let outcome = within("bound a queue", binding).await?;
    outcome.map_err(|source| refused(format!("binding of {queue} to {exchange}"), source))
}

/// Whether the broker knows no such queue or exchange.
pub(crate) fn is_not_found(error: &lapin::Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == NOT_FOUND)
}

fn refused(object: String, source: lapin::Error) -> SessionError {
    match source.kind() {
        ErrorKind::ProtocolError(error) if error.get_id() == PRECONDITION_FAILED => {
            let error = format!(
                "the broker says {}; stop what uses it, drain it, delete it, and it is made anew",
                error.get_message()
            );
            SessionError::Mismatch { object, error }
        }
        _ => SessionError::Declare { object, source },
    }
}

fn short(text: &str) -> Result<ShortString, SessionError> {
    ShortString::try_new(text).map_err(|_| SessionError::TooLong(text.to_owned()))
}

async fn within<T>(what: &'static str, step: impl Future<Output = T>) -> Result<T, SessionError> {
    timeout(STEP, step).await.map_err(|_| SessionError::Silent(what))
}
