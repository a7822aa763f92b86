//! What roles have handed over.

use std::sync::Arc;

use aegir_api::DocumentList;
use aegir_protocol::code::Code;
use aegir_protocol::name::{DocumentName, Kind, TargetId};
use aegir_protocol::problem::Problem;
use aegir_protocol::request::Accepted;

use crate::catalogs::Catalogs;
use crate::operations::{Operations, no_such_operation, repeat_request};
use crate::store::Store;

/// The documents of all targets.
pub struct Documents {
    /// Where they are.
    pub store: Store,
    /// What backends can do.
    pub catalogs: Arc<Catalogs>,
    /// Where new ones are asked for.
    pub operations: Arc<Operations>,
}

impl Documents {
    /// What roles have handed over about a target.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list(&self, kind: &Kind, id: &TargetId) -> Result<DocumentList, Problem> {
        Ok(self.store.documents(kind, id).await?)
    }

    /// Asks once more for the Operation that handed a document over, with the same input.
    ///
    /// # Errors
    /// When there is no such document, it is none to be asked for again, its Operation is gone, or that is not accepted any
    /// more.
    pub async fn refresh(
        &self,
        kind: &Kind,
        id: &TargetId,
        name: &DocumentName,
        requested_by: Option<String>,
    ) -> Result<Accepted, Problem> {
        let list = self.list(kind, id).await?;
        let found = list.documents.into_iter().find(|document| document.name == *name);
        let found = found.ok_or_else(|| {
            Problem::new(
                Code::NotFound,
                format!("no role has handed over a document {name} about {kind}:{id}"),
            )
        })?;
        // What was handed over by the way, by a deployment or a restore, is not worth doing that again.
        let refused =
            |why: &str| Problem::new(Code::NotRefreshable, format!("document {name} of {kind}:{id} {why}"));
        if found.fresh_until.is_none() {
            return Err(refused("never grows old: its manifest gives no `fresh_seconds`"));
        }
        let operation = self.store.input_of(found.operation).await?;
        let operation = operation.ok_or_else(|| no_such_operation(found.operation))?;
        let catalog = self.catalogs.get(&operation.backend);
        let declared = catalog.as_ref().and_then(|catalog| catalog.find(&operation.name).ok());
        if declared.is_some_and(|(_, declared)| declared.dangerous) {
            let name = &operation.name;
            return Err(refused(&format!(
                "comes of {name}, which is dangerous: ask for that yourself (`aegir run {name} …`)"
            )));
        }
        self.operations.submit(repeat_request(operation, requested_by), None).await
    }
}
