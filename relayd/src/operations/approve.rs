//! Carrying out what a dry run has planned, and asking for what was asked for before.

use aegir_api::ApproveRequest;
use aegir_protocol::code::Code;
use aegir_protocol::id::OperationId;
use aegir_protocol::operation::{LockMode, Operation};
use aegir_protocol::problem::Problem;
use aegir_protocol::request::{Accepted, Request, RequestTarget};

use super::service::{Operations, no_such_operation};

impl Operations {
    /// Asks for what a dry run has planned: the same input, and nothing is run when that would be another plan now.
    ///
    /// # Errors
    /// When there is no such Operation, it has no plan, or something has changed since.
    pub async fn approve(&self, id: OperationId, request: ApproveRequest) -> Result<Accepted, Problem> {
        let Some(planned) = self.store.planned(id).await? else {
            let state = self.store.state_of(id).await?.ok_or_else(|| no_such_operation(id))?;
            let detail = format!(
                "Operation {id} is {state} and has no plan: one that has is a dry run with Tasks (`aegir run … --plan`), \
                 made by this version of relayd, and has succeeded"
            );
            return Err(Problem::new(Code::NoPlan, detail));
        };
        let hash = planned.hash();
        if let Some(seen) = request.plan.filter(|seen| *seen != hash) {
            let detail = format!(
                "the plan of Operation {id} is {hash}, not {seen}: look at it, then approve that one"
            );
            return Err(Problem::new(Code::PlanChanged, detail));
        }
        let approved = planned.approved();
        let again = repeat_request(planned.operation, request.requested_by);
        self.submit_approved(again, None, Some(approved)).await
    }
}

/// A request for the same.
#[must_use]
pub fn repeat_request(operation: Operation, requested_by: Option<String>) -> Request {
    let Operation { name, target, backend, hosts, variables, mut locks, priority, timeout_seconds, .. } =
        operation;
    // Those come by themselves.
    locks.retain(|lock| {
        let of_target = (&lock.kind, &lock.id) == (&target.kind, &target.id);
        let of_host = lock.kind.as_str() == "host"
            && lock.mode == LockMode::Shared
            && hosts.iter().any(|host| host.name.as_str() == lock.id.as_str());
        !of_target && !of_host
    });
    Request {
        name,
        target: RequestTarget { kind: target.kind, id: Some(target.id), name: target.name },
        backend: Some(backend),
        hosts,
        variables,
        locks,
        requested_by,
        priority,
        dry_run: false,
        timeout_seconds,
        idempotency_key: None,
        traceparent: None,
    }
}
