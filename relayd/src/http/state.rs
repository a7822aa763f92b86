//! What every handler has.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::backends::Backends;
use crate::dead_letters::DeadLetters;
use crate::diagnosis::Diagnosis;
use crate::documents::Documents;
use crate::operations::Operations;
use crate::services::RelayServices;
use crate::sessions::Sessions;

/// What every handler has.
#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) operations: Arc<Operations>,
    pub(super) backends: Arc<Backends>,
    pub(super) documents: Arc<Documents>,
    pub(super) dead_letters: Arc<DeadLetters>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) diagnosis: Arc<Diagnosis>,
    /// Streams end with it, for they would go on for ever.
    pub(super) stop: CancellationToken,
}

impl HttpState {
    pub(super) fn new(services: RelayServices, stop: CancellationToken) -> Self {
        let RelayServices { operations, backends, documents, dead_letters, sessions, diagnosis } = services;
        Self { operations, backends, documents, dead_letters, sessions, diagnosis, stop }
    }
}
