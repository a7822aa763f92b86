//! What every handler has.

use tokio_util::sync::CancellationToken;

use crate::relay::Relay;

/// What every handler has.
#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) relay: Relay,
    /// Streams end with it, for they would go on for ever.
    pub(super) stop: CancellationToken,
}
