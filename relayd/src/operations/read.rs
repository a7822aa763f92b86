//! Operations and their transcripts, for those who look at them.

use aegir_api::{OperationDetail, OperationList, OperationSummary};
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::name::NodeName;
use aegir_protocol::problem::Problem;
use tokio::sync::{broadcast, watch};

use super::service::{Operations, no_such_operation};
use crate::store::{OperationFilter, TranscriptPiece};

impl Operations {
    /// A page of Operations, newest first.
    ///
    /// # Errors
    /// When it is to begin before an Operation that is not there, or the store can't be read.
    pub async fn list(&self, filter: &OperationFilter) -> Result<OperationList, Problem> {
        if let Some(before) = filter.before
            && self.store.state_of(before).await?.is_none()
        {
            let detail =
                format!("parameter before can't be \"{before}\": there is no such Operation (any more)");
            return Err(Problem::new(Code::ParameterInvalid, detail));
        }
        Ok(self.store.operations(filter, |node, summary| self.heard(node, summary)).await?)
    }

    /// Everything about an Operation but its transcript.
    ///
    /// # Errors
    /// When there is none.
    pub async fn detail(&self, id: OperationId) -> Result<OperationDetail, Problem> {
        let found = self.store.operation(id, |node, summary| self.heard(node, summary)).await?;
        found.ok_or_else(|| no_such_operation(id))
    }

    /// Adds to an Operation that a node has what heartbeats say of it.
    fn heard(&self, node: &NodeName, summary: &mut OperationSummary) {
        let attempt = AttemptId { operation: summary.id, attempt: summary.attempt };
        summary.silent = self.nodes.silent(node);
        summary.blocked = self.nodes.blocked(node, attempt);
    }

    /// Whole records of a transcript from number `from_seq` on: as many as fit `max_bytes`, but at least one if
    /// there is one. Of the current attempt when none is named.
    ///
    /// # Errors
    /// When there is no such attempt.
    pub async fn records(
        &self,
        id: OperationId,
        attempt: Option<Attempt>,
        from_seq: u64,
        max_bytes: usize,
    ) -> Result<TranscriptPiece, Problem> {
        let piece = self.store.records(id, attempt, from_seq, max_bytes).await?;
        piece.ok_or_else(|| no_such_attempt(id, attempt))
    }

    /// Bytes of a transcript from `offset` on, `max_bytes` at most.
    ///
    /// # Errors
    /// When there is no such attempt.
    pub async fn raw(
        &self,
        id: OperationId,
        attempt: Option<Attempt>,
        offset: u64,
        max_bytes: usize,
    ) -> Result<TranscriptPiece, Problem> {
        let piece = self.store.raw(id, attempt, offset, max_bytes).await?;
        piece.ok_or_else(|| no_such_attempt(id, attempt))
    }

    /// Changes whenever anything about this Operation was committed. Look first, then wait: the value only says
    /// that there is something new.
    #[must_use]
    pub fn watch(&self, id: OperationId) -> watch::Receiver<u64> {
        self.changes.watch(id)
    }

    /// Each Operation of which anything was committed.
    #[must_use]
    pub fn watch_all(&self) -> broadcast::Receiver<OperationId> {
        self.changes.watch_all()
    }
}

fn no_such_attempt(id: OperationId, attempt: Option<Attempt>) -> Problem {
    match attempt {
        None => no_such_operation(id),
        Some(attempt) => {
            Problem::new(Code::NoSuchAttempt, format!("there is no attempt {attempt} at Operation {id}"))
        }
    }
}
