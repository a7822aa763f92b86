//! What a proxy can do with what it carries.

/// What the proxy does with what it carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything comes through, at once.
    #[default]
    Pass,
    /// Bytes are taken and not passed on, as by a network that drops every packet: whoever sends notices nothing
    /// until the kernel's buffers are full. What was held arrives, in order, when the mode changes.
    Stall(Direction),
    /// At most so many bytes in a second, each way.
    Throttle {
        /// How many; at least 1.
        bytes_per_second: u32,
    },
    /// From the broker only AMQP's heartbeats come through: a connection that looks healthy and delivers nothing.
    /// Over TLS frames can't be told apart, and everything comes through.
    HeartbeatsOnly,
    /// Every connection is reset, a new one as soon as it was accepted.
    Refuse,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// What the daemon sends.
    ToBroker,
    /// What the daemon would receive.
    FromBroker,
    /// Both.
    Both,
}

/// Who is at the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connected to the proxy.
    Daemon,
    /// The one that the proxy connected to.
    Broker,
}
