//! [`Diagnosis`]: what its methods use.

use std::sync::Arc;

use aegir_amqp::BrokerSession;

use super::metrics::RelayMetrics;
use crate::backends::Backends;
use crate::dead_letters::DeadLetters;
use crate::dispatch::Control;
use crate::nodes::{Nodes, PendingEchoes};
use crate::operations::Operations;
use crate::store::Store;

/// How relayd, its broker and its nodes stand.
pub struct Diagnosis {
    /// The store.
    pub store: Store,
    /// The way to the broker.
    pub link: BrokerSession,
    /// Who is alive.
    pub nodes: Arc<Nodes>,
    /// Who waits for the answer to an echo.
    pub echoes: Arc<PendingEchoes>,
    /// For asking nodes for one.
    pub control: Control,
    /// What is counted.
    pub metrics: RelayMetrics,
    /// For a round trip.
    pub operations: Arc<Operations>,
    /// What the backends can do.
    pub backends: Arc<Backends>,
    /// What is said of dead letters.
    pub dead_letters: Arc<DeadLetters>,
}
