//! Backends: what they can do, who is alive there, and whether anything may start.

use std::collections::BTreeSet;
use std::sync::Arc;

use aegir_api::{BackendDetail, BackendList, CatalogList, NodeList, PauseRequest};
use aegir_catalog::Catalog;
use aegir_protocol::code::Code;
use aegir_protocol::name::{BackendName, FrontendName};
use aegir_protocol::problem::Problem;

use crate::catalogs::Catalogs;
use crate::nodes::Nodes;
use crate::operations::row_text;
use crate::store::Store;
use crate::store::write::{PauseBackend, ResumeBackend};

/// The backends that a frontend knows.
pub struct Backends {
    /// The frontend that this relayd works for.
    pub frontend: FrontendName,
    /// Where pauses are.
    pub store: Store,
    /// What backends can do.
    pub catalogs: Arc<Catalogs>,
    /// Who is alive.
    pub nodes: Arc<Nodes>,
}

impl Backends {
    /// Every backend that has sent a catalog or is paused.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn list(&self) -> Result<BackendList, Problem> {
        let mut pauses = self.store.pauses().await?;
        let known = self.catalogs.list().iter().map(|catalog| catalog.backend.clone()).collect::<Vec<_>>();
        let names: BTreeSet<_> = known.into_iter().chain(pauses.keys().cloned()).collect();
        let detail = |name: BackendName| BackendDetail {
            paused: pauses.remove(&name),
            alive: self.nodes.alive(&name),
            name,
        };
        Ok(BackendList { backends: names.into_iter().map(detail).collect() })
    }

    /// Lets nothing new start on a backend. What runs there is not touched.
    ///
    /// # Errors
    /// When nobody has heard of that backend, or it can't be stored.
    pub async fn pause(&self, backend: BackendName, request: PauseRequest) -> Result<(), Problem> {
        if self.catalogs.get(&backend).is_none() {
            return Err(self.no_such_backend(&backend));
        }
        let request = PauseRequest {
            requested_by: request.requested_by.map(row_text),
            reason: request.reason.map(row_text),
        };
        tracing::info!(backend = %backend, requested_by = request.requested_by, "backend paused");
        Ok(self.store.write(PauseBackend { backend, request }).await?)
    }

    /// Lets things start on a backend again.
    ///
    /// # Errors
    /// When nobody has heard of that backend and it is not paused, or that can't be stored.
    pub async fn resume(&self, backend: BackendName) -> Result<(), Problem> {
        if self.catalogs.get(&backend).is_none() && !self.store.pauses().await?.contains_key(&backend) {
            return Err(self.no_such_backend(&backend));
        }
        tracing::info!(backend = %backend, "backend resumed");
        Ok(self.store.write(ResumeBackend { backend }).await?)
    }

    /// What backends can do.
    #[must_use]
    pub fn catalogs(&self) -> CatalogList {
        CatalogList { catalogs: self.catalogs.list() }
    }

    /// What one backend can do.
    #[must_use]
    pub fn catalog(&self, backend: &BackendName) -> Option<Arc<Catalog>> {
        self.catalogs.get(backend)
    }

    /// Who was heard of.
    #[must_use]
    pub fn nodes(&self) -> NodeList {
        NodeList { nodes: self.nodes.list() }
    }

    fn no_such_backend(&self, backend: &BackendName) -> Problem {
        Problem::new(Code::NoSuchBackend, self.catalogs.no_catalog_of(backend, &self.frontend))
    }
}
