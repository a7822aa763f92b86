//! What the writer remembers of the transcripts that grow.
//!
//! Only the writer writes, so what it remembers is what is stored. Whatever it does not remember, after a
//! restart for example, it reads again.

use std::collections::HashMap;

use aegir_protocol::id::AttemptId;
use aegir_protocol::name::NodeName;
use aegir_transcript::Verifier;
use tokio::time::Instant;

/// How many transcripts are remembered. More than all nodes run at a time; a forgotten one costs reading it.
const MAX_TAILS: usize = 4096;

/// The end of a stored transcript.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    /// The Operation's number.
    pub(super) operation: i64,
    /// Who has the attempt. Nobody else may add to its transcript.
    pub(super) node: Option<NodeName>,
    /// What was found while it came in; its offset is the stored end.
    pub(super) verifier: Verifier,
    /// How often something else arrived than what was written.
    pub(super) mismatches: u32,
    /// From where it was asked for again, and when.
    pub(super) replay_asked: Option<(u64, Instant)>,
}

/// The ends of the transcripts that grow.
#[derive(Debug, Default)]
pub(super) struct Tails(HashMap<AttemptId, Tail>);

impl Tails {
    pub(super) fn get(&self, attempt: &AttemptId) -> Option<&Tail> {
        self.0.get(attempt)
    }

    /// Takes over what a transaction that succeeded has changed. What has ended is forgotten.
    pub(super) fn keep(&mut self, touched: HashMap<AttemptId, Tail>) {
        if self.0.len() + touched.len() > MAX_TAILS {
            self.0.clear();
        }
        for (attempt, tail) in touched {
            if tail.verifier.finished().is_some() {
                self.0.remove(&attempt);
            } else {
                self.0.insert(attempt, tail);
            }
        }
    }
}
