//! One handle over all that the API, the page and requests by AMQP ask.

use std::sync::Arc;

use aegir_amqp::BrokerSession;
use tokio::sync::{Mutex, Notify};

use crate::backends::Backends;
use crate::dead_letters::DeadLetters;
use crate::diagnosis::{Diagnosis, RelayMetrics};
use crate::dispatch::Control;
use crate::documents::Documents;
use crate::nodes::PendingEchoes;
use crate::operations::Operations;
use crate::sessions::Sessions;
use crate::sign_in::Token;

/// One of each. Cheap to clone.
#[derive(Clone)]
pub struct RelayServices {
    /// What is asked of Operations.
    pub operations: Arc<Operations>,
    /// What backends can do, and whether anything starts there.
    pub backends: Arc<Backends>,
    /// What roles have handed over.
    pub documents: Arc<Documents>,
    /// Messages that nobody could handle.
    pub dead_letters: Arc<DeadLetters>,
    /// Who may ask.
    pub sessions: Arc<Sessions>,
    /// How relayd stands.
    pub diagnosis: Arc<Diagnosis>,
}

impl RelayServices {
    /// All over the same store and memory as `operations`. `removed` is told when dead letters were removed.
    #[must_use]
    pub fn new(
        operations: Operations,
        token: Token,
        link: &BrokerSession,
        control: Control,
        echoes: Arc<PendingEchoes>,
        removed: Arc<Notify>,
    ) -> Self {
        let operations = Arc::new(operations);
        let store = || operations.store.clone();
        let (catalogs, nodes) = (|| Arc::clone(&operations.catalogs), || Arc::clone(&operations.nodes));
        let frontend = operations.frontend.clone();
        let backends = Arc::new(Backends { frontend, store: store(), catalogs: catalogs(), nodes: nodes() });
        let documents =
            Documents { store: store(), catalogs: catalogs(), operations: Arc::clone(&operations) };
        let dead_letters = Arc::new(DeadLetters {
            store: store(),
            publisher: link.publisher(),
            removed,
            replaying: Mutex::default(),
        });
        let diagnosis = Diagnosis {
            store: store(),
            link: link.clone(),
            nodes: nodes(),
            echoes,
            control,
            metrics: RelayMetrics::new(operations.store.counters()),
            operations: Arc::clone(&operations),
            backends: Arc::clone(&backends),
            dead_letters: Arc::clone(&dead_letters),
        };
        Self {
            documents: Arc::new(documents),
            sessions: Arc::new(Sessions { store: store(), token }),
            diagnosis: Arc::new(diagnosis),
            operations,
            backends,
            dead_letters,
        }
    }
}
