//! Taking a request: what was accepted before stays accepted, what is new is checked, sealed and stored.

use aegir_protocol::code::Code;
use aegir_protocol::operation::Approved;
use aegir_protocol::problem::{FieldProblem, Problem};
use aegir_protocol::request::{Accepted, Request};
use jiff::Timestamp;

use super::accept::accept;
use super::idempotency::check_key;
use super::service::Operations;
use crate::store::write::{Submit, Submitted};

impl Operations {
    /// Takes a request. Once this returns, the Operation is stored and ends in one of the states for that.
    ///
    /// # Errors
    /// With what is wrong with the request, or with the store.
    pub async fn submit(
        &self,
        request: Request,
        idempotency_key: Option<String>,
    ) -> Result<Accepted, Problem> {
        self.submit_approved(request, idempotency_key, None).await
    }

    pub(super) async fn submit_approved(
        &self,
        request: Request,
        idempotency_key: Option<String>,
        approved: Option<Approved>,
    ) -> Result<Accepted, Problem> {
        let key = idempotency_key.or_else(|| request.idempotency_key.clone());
        if let Some(key) = &key {
            check_key(key)?;
        }
        let backend = request.backend.clone().unwrap_or_else(|| self.default_backend.clone());
        let request_mac = self.mac_key.mac(&request, &backend);
        // What was accepted before stays accepted, even if the catalog has changed since.
        if let Some(key) = &key
            && let Some(earlier) = self.store.earlier(key, &request_mac).await?
        {
            return answer(earlier);
        }
        let catalog = self.catalogs.get(&backend).ok_or_else(|| {
            let detail = self.catalogs.no_catalog_of(&backend, &self.frontend);
            let errors = vec![FieldProblem::new("/backend", Code::UnknownBackend, detail.as_str())];
            Problem { errors, ..Problem::new(Code::UnknownBackend, detail) }
        })?;
        let frontend = self.frontend.clone();
        // Schemas and sealing take the processor for a while.
        let accepted = tokio::task::spawn_blocking(move || {
            accept(&request, &catalog, &frontend, approved, Timestamp::now())
        });
        let (operation, retry_policy) = accepted.await.map_err(|error| {
            Problem::new(Code::Internal, format!("the request broke its check: {error}"))
        })??;
        let (id, name) = (operation.id, operation.name.clone());
        let submitted =
            self.store.write(Submit { operation, retry_policy, idempotency_key: key, request_mac }).await?;
        if matches!(&submitted, Submitted::Accepted(accepted) if !accepted.repeated) {
            tracing::info!(operation_id = %id, name = %name, backend = %backend, "Operation stored");
        }
        answer(submitted)
    }
}

fn answer(submitted: Submitted) -> Result<Accepted, Problem> {
    match submitted {
        Submitted::Accepted(accepted) => Ok(accepted),
        Submitted::Conflict => Err(Problem::new(
            Code::IdempotencyConflict,
            "the idempotency key stands for another request: send the same request, or another key",
        )),
        Submitted::Overtaken(other) => Err(Problem::new(
            Code::PlanChanged,
            format!(
                "Operation {other} on the same target has come after the plan was made, or is still under way: plan again"
            ),
        )),
    }
}
