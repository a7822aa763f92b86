//! What of a lease matters to the slots.

use std::time::Duration;

use aegir_attempt::lease::{boot_time, left};
use aegir_protocol::message::Lease;

/// How often a lease is renewed while it runs: so an outage that is shorter by this much stops nobody.
const RENEWALS: u32 = 15;

/// What of a lease matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseState {
    /// The lease.
    pub lease: Lease,
    /// Whether it was over when it came.
    pub over: bool,
    /// How long after a claim the next one is due.
    pub renew_after: Duration,
}

/// A lease as it stands now.
#[must_use]
pub fn lease_state(lease: Lease) -> LeaseState {
    let renew_after = (Duration::from_secs(lease.seconds) / RENEWALS).max(Duration::from_secs(1));
    LeaseState { lease, over: left(lease, boot_time()).is_zero(), renew_after }
}
