//! The handle that everything which talks to people uses: the API, the page, submissions by AMQP.

mod dead;
mod diagnosis;
mod documents;
mod health;
mod repeat;

use std::collections::BTreeSet;
use std::sync::Arc;

use aegir_amqp::BrokerSession;
use aegir_protocol::api::{
    BackendDetail, BackendList, CatalogList, FieldProblem, NodeList, OperationDetail, OperationList,
    OperationSummary, PauseRequest, Problem, SignInLink,
};
use aegir_protocol::catalog::Catalog;
use aegir_protocol::code::Code;
use aegir_protocol::id::{Attempt, AttemptId, OperationId};
use aegir_protocol::name::{BackendName, FrontendName, NodeName};
use aegir_protocol::operation::Approved;
use aegir_protocol::request::{Accepted, Request};
use jiff::Timestamp;
use tokio::sync::{Mutex, Notify, watch};

use crate::catalogs::Catalogs;
use crate::changes::ChangeNotifier;
use crate::dispatch::Control;
use crate::ledger::{LedgerEvent, Refusal};
use crate::nodes::Nodes;
use crate::nodes::PendingEchoes;
use crate::sign_in::{self, Token};
use crate::store::write::{
    ActionOutcome, AddCode, ApplyAction, EndSession, PauseBackend, RedeemCode, ResumeBackend, Submit,
    Submitted,
};
use crate::store::{OperationFilter, Store, TranscriptPiece};
use crate::submit::{MacKey, accept, check_key};

pub use health::{Readiness, RelayMetrics};

/// relayd, as those who talk to people have it. Cheap to clone.
#[derive(Clone)]
pub struct Relay(pub(crate) Arc<RelayParts>);

/// What it is made of.
pub struct RelayParts {
    /// The frontend that this relayd works for.
    pub frontend: FrontendName,
    /// Who carries out what names no backend.
    pub default_backend: BackendName,
    /// The store.
    pub store: Store,
    /// What backends can do.
    pub catalogs: Arc<Catalogs>,
    /// Who watches.
    pub changes: Arc<ChangeNotifier>,
    /// Who is alive.
    pub nodes: Arc<Nodes>,
    /// Who waits for the answer to an echo.
    pub echoes: Arc<PendingEchoes>,
    /// For telling nodes.
    pub control: Control,
    /// The way to the broker.
    pub link: BrokerSession,
    /// What requests are compared with.
    pub mac_key: MacKey,
    /// The API's token.
    pub token: Token,
    /// What is counted.
    pub metrics: RelayMetrics,
    /// Tells who collects dead letters that some were removed.
    pub dead_removed: Arc<Notify>,
    /// Held while a dead letter is replayed.
    pub replaying: Mutex<()>,
}

impl Relay {
    /// The handle over its parts.
    #[must_use]
    pub fn new(parts: RelayParts) -> Self {
        Self(Arc::new(parts))
    }

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

    async fn submit_approved(
        &self,
        request: Request,
        idempotency_key: Option<String>,
        approved: Option<Approved>,
    ) -> Result<Accepted, Problem> {
        let parts = &self.0;
        let key = idempotency_key.or_else(|| request.idempotency_key.clone());
        if let Some(key) = &key {
            check_key(key)?;
        }
        let backend = request.backend.clone().unwrap_or_else(|| parts.default_backend.clone());
        let request_mac = parts.mac_key.mac(&request, &backend);
        // What was accepted before stays accepted, even if the catalog has changed since.
        if let Some(key) = &key
            && let Some(earlier) = parts.store.earlier(key, &request_mac).await?
        {
            return answer(earlier);
        }
        let catalog = parts.catalogs.get(&backend).ok_or_else(|| self.unknown_backend(&backend))?;
        let frontend = parts.frontend.clone();
        // Schemas and sealing take the processor for a while.
        let accepted = tokio::task::spawn_blocking(move || {
            accept(&request, &catalog, &frontend, approved, Timestamp::now())
        });
        let (operation, retry_policy) = accepted.await.map_err(|error| {
            Problem::new(Code::Internal, format!("the request broke its check: {error}"))
        })??;
        let (id, name) = (operation.id, operation.name.clone());
        let submitted =
            parts.store.write(Submit { operation, retry_policy, idempotency_key: key, request_mac }).await?;
        if matches!(&submitted, Submitted::Accepted(accepted) if !accepted.repeated) {
            tracing::info!(operation_id = %id, name = %name, backend = %backend, "Operation stored");
        }
        answer(submitted)
    }

    fn unknown_backend(&self, backend: &BackendName) -> Problem {
        let known: Vec<_> =
            self.0.catalogs.list().iter().map(|catalog| catalog.backend.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let frontend = &self.0.frontend;
        let detail = format!(
            "no catalog of backend {backend} has arrived (known: {known}): start a dispatcherd of that backend whose \
             `frontends` name {frontend}"
        );
        let errors = vec![FieldProblem::new("/backend", Code::UnknownBackend, detail.as_str())];
        Problem { errors, ..Problem::new(Code::UnknownBackend, detail) }
    }

    fn no_such_backend(&self, backend: &BackendName) -> Problem {
        Problem::new(Code::NoSuchBackend, self.unknown_backend(backend).detail)
    }

    /// Calls an Operation off. What no node has ends at once; otherwise its node is told, and it ends when the
    /// node says so.
    ///
    /// # Errors
    /// When there is none, it has ended, or this was asked for before.
    pub async fn cancel(&self, id: OperationId, by: Option<String>) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::CancelRequested { by: by.map(row_text) }).await
    }

    /// Begins a further attempt at an Operation, with the same input. The earlier ones stay as they are. Tasks that they
    /// have finished are not run again, unless it is to begin from the start or the role has changed.
    ///
    /// # Errors
    /// When there is none, it has not ended, or it has succeeded.
    pub async fn retry(&self, id: OperationId, by: Option<String>, from_start: bool) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::RetryRequested { by: by.map(row_text), from_start }).await
    }

    /// Gives up an attempt of whose node nobody is going to hear again. Should it be heard of all the same, it is
    /// told to stop.
    ///
    /// # Errors
    /// When there is none, it has ended, or no node has it.
    pub async fn lost(&self, id: OperationId, by: Option<String>) -> Result<(), Problem> {
        self.ask(id, LedgerEvent::DeclaredLost { by: by.map(row_text) }).await
    }

    async fn ask(&self, id: OperationId, event: LedgerEvent) -> Result<(), Problem> {
        match self.0.store.write(ApplyAction { id, event }).await? {
            ActionOutcome::Accepted => Ok(()),
            ActionOutcome::Unknown => Err(no_such_operation(id)),
            ActionOutcome::Refused(refusal) => Err(refused(id, &refusal)),
        }
    }

    /// Every backend that has sent a catalog or is paused.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn backends(&self) -> Result<BackendList, Problem> {
        let mut pauses = self.0.store.pauses().await?;
        let known = self.0.catalogs.list().iter().map(|catalog| catalog.backend.clone()).collect::<Vec<_>>();
        let names: BTreeSet<_> = known.into_iter().chain(pauses.keys().cloned()).collect();
        let detail = |name: BackendName| BackendDetail {
            paused: pauses.remove(&name),
            alive: self.0.nodes.alive(&name),
            name,
        };
        Ok(BackendList { backends: names.into_iter().map(detail).collect() })
    }

    /// Lets nothing new start on a backend. What runs there is not touched.
    ///
    /// # Errors
    /// When nobody has heard of that backend, or it can't be stored.
    pub async fn pause(&self, backend: BackendName, request: PauseRequest) -> Result<(), Problem> {
        if self.0.catalogs.get(&backend).is_none() {
            return Err(self.no_such_backend(&backend));
        }
        let request = PauseRequest {
            requested_by: request.requested_by.map(row_text),
            reason: request.reason.map(row_text),
        };
        tracing::info!(backend = %backend, requested_by = request.requested_by, "backend paused");
        Ok(self.0.store.write(PauseBackend { backend, request }).await?)
    }

    /// Lets things start on a backend again.
    ///
    /// # Errors
    /// When nobody has heard of that backend and it is not paused, or that can't be stored.
    pub async fn resume(&self, backend: BackendName) -> Result<(), Problem> {
        if self.0.catalogs.get(&backend).is_none() && !self.0.store.pauses().await?.contains_key(&backend) {
            return Err(self.no_such_backend(&backend));
        }
        tracing::info!(backend = %backend, "backend resumed");
        Ok(self.0.store.write(ResumeBackend { backend }).await?)
    }

    /// A page of Operations, newest first.
    ///
    /// # Errors
    /// When it is to begin before an Operation that is not there, or the store can't be read.
    pub async fn operations(&self, filter: &OperationFilter) -> Result<OperationList, Problem> {
        if let Some(before) = filter.before
            && self.0.store.state_of(before).await?.is_none()
        {
            let detail =
                format!("parameter before can't be \"{before}\": there is no such Operation (any more)");
            return Err(Problem::new(Code::ParameterInvalid, detail));
        }
        Ok(self.0.store.operations(filter, |node, summary| self.heard(node, summary)).await?)
    }

    /// Everything about an Operation but its transcript.
    ///
    /// # Errors
    /// When there is none.
    pub async fn operation(&self, id: OperationId) -> Result<OperationDetail, Problem> {
        let found = self.0.store.operation(id, |node, summary| self.heard(node, summary)).await?;
        found.ok_or_else(|| no_such_operation(id))
    }

    /// Adds to an Operation that a node has what heartbeats say of it.
    fn heard(&self, node: &NodeName, summary: &mut OperationSummary) {
        let attempt = AttemptId { operation: summary.id, attempt: summary.attempt };
        summary.silent = self.0.nodes.silent(node);
        summary.blocked = self.0.nodes.blocked(node, attempt);
    }

    /// What backends can do.
    #[must_use]
    pub fn catalogs(&self) -> CatalogList {
        let catalogs = self.0.catalogs.list().iter().map(|catalog| (**catalog).clone()).collect();
        CatalogList { catalogs }
    }

    /// What one backend can do.
    #[must_use]
    pub fn catalog(&self, backend: &BackendName) -> Option<Arc<Catalog>> {
        self.0.catalogs.get(backend)
    }

    /// Who was heard of.
    #[must_use]
    pub fn nodes(&self) -> NodeList {
        NodeList { nodes: self.0.nodes.list() }
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
        let piece = self.0.store.records(id, attempt, from_seq, max_bytes).await?;
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
        let piece = self.0.store.raw(id, attempt, offset, max_bytes).await?;
        piece.ok_or_else(|| no_such_attempt(id, attempt))
    }

    /// Changes whenever anything about this Operation was committed. Look first, then wait: the value only says
    /// that there is something new.
    #[must_use]
    pub fn watch(&self, id: OperationId) -> watch::Receiver<u64> {
        self.0.changes.watch(id)
    }

    /// Changes whenever anything about any Operation was committed.
    #[must_use]
    pub fn watch_all(&self) -> watch::Receiver<u64> {
        self.0.changes.watch_all()
    }

    /// Whether this is the API's token.
    #[must_use]
    pub fn is_token(&self, shown: &str) -> bool {
        self.0.token.is(shown)
    }

    /// A new link that signs in once, within ten minutes.
    ///
    /// # Errors
    /// When it can't be stored.
    pub async fn sign_in_link(&self) -> Result<SignInLink, Problem> {
        let code = sign_in::random();
        let expires_at = Timestamp::now() + sign_in::CODE_LIFETIME;
        self.0.store.write(AddCode { hash: sign_in::hash(&code), expires_at }).await?;
        Ok(SignInLink { path: format!("/sign-in?code={code}"), expires_at })
    }

    /// Exchanges a code for a session's id; `None` when the code does not work (any more).
    ///
    /// # Errors
    /// When that can't be stored.
    pub async fn redeem(&self, code: &str) -> Result<Option<String>, Problem> {
        let session = sign_in::random();
        let redeem = RedeemCode {
            code: sign_in::hash(code),
            session: sign_in::hash(&session),
            expires_at: Timestamp::now() + sign_in::SESSION_LIFETIME,
        };
        Ok(self.0.store.write(redeem).await?.then_some(session))
    }

    /// Whether a session with this id is open.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn is_session(&self, session: &str) -> Result<bool, Problem> {
        Ok(self.0.store.session_is_open(&sign_in::hash(session)).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When that can't be stored.
    pub async fn sign_out(&self, session: &str) -> Result<(), Problem> {
        Ok(self.0.store.write(EndSession { session: sign_in::hash(session) }).await?)
    }
}

/// Only as much of a text as fits a row that people read.
fn row_text(text: String) -> String {
    text.chars().filter(|c| !c.is_control()).take(255).collect()
}

/// Why a wish can't be met.
fn refused(id: OperationId, refusal: &Refusal) -> Problem {
    let (code, detail) = match refusal {
        Refusal::AlreadyEnded(state) => (Code::AlreadyEnded, format!("Operation {id} has ended: {state}")),
        Refusal::AlreadyCanceled => (
            Code::AlreadyCanceled,
            format!(
                "Operation {id} was called off before; its node is told, and it ends when the node says so"
            ),
        ),
        Refusal::NotEnded(state) => (
            Code::NotEnded,
            format!(
                "Operation {id} is {state}: only one that has ended can be tried again; cancel it first, or \
                 declare it lost if its node is gone"
            ),
        ),
        Refusal::NothingToRetry => (
            Code::NothingToRetry,
            format!("Operation {id} has succeeded: to do the same once more, submit it as a new Operation"),
        ),
        Refusal::NotStarted(state) => (
            Code::NotStarted,
            format!(
                "Operation {id} is {state} and no node has it, so nothing can be lost: cancel it instead"
            ),
        ),
    };
    Problem::new(code, detail)
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

fn no_such_operation(id: OperationId) -> Problem {
    Problem::new(Code::NoSuchOperation, format!("there is no Operation {id}"))
}

fn no_such_attempt(id: OperationId, attempt: Option<Attempt>) -> Problem {
    match attempt {
        None => no_such_operation(id),
        Some(attempt) => {
            Problem::new(Code::NoSuchAttempt, format!("there is no attempt {attempt} at Operation {id}"))
        }
    }
}
