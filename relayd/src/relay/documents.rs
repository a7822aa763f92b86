//! What roles have handed over.

use aegir_protocol::api::{DocumentList, Problem};
use aegir_protocol::code::Code;
use aegir_protocol::name::{DocumentName, Kind, TargetId};
use aegir_protocol::request::Accepted;

use super::again::same_again;
use super::{Relay, no_such_operation};

impl Relay {
    /// What roles have handed over about a target.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn documents(&self, kind: &Kind, id: &TargetId) -> Result<DocumentList, Problem> {
        Ok(self.0.store.documents(kind, id).await?)
    }

    /// Asks once more for the Operation that handed a document over, with the same input.
    ///
    /// # Errors
    /// When there is no such document, its Operation is gone, or that is not accepted any more.
    pub async fn refresh(
        &self,
        kind: &Kind,
        id: &TargetId,
        name: &DocumentName,
        requested_by: Option<String>,
    ) -> Result<Accepted, Problem> {
        let list = self.documents(kind, id).await?;
        let found = list.documents.into_iter().find(|document| document.name == *name);
        let found = found.ok_or_else(|| {
            Problem::new(
                Code::NotFound,
                format!("no role has handed over a document {name} about {kind}:{id}"),
            )
        })?;
        let operation = self.0.store.input_of(found.operation).await?;
        let operation = operation.ok_or_else(|| no_such_operation(found.operation))?;
        self.submit(same_again(operation, requested_by), None).await
    }
}
