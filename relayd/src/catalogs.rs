//! The catalogs of all backends, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use aegir_catalog::Catalog;
use aegir_protocol::name::{BackendName, FrontendName};

/// What each backend can do, as it last said.
#[derive(Default)]
pub struct Catalogs(RwLock<BTreeMap<BackendName, Arc<Catalog>>>);

impl Catalogs {
    /// Replaces a backend's catalog.
    pub fn put(&self, catalog: Arc<Catalog>) {
        // An insert is all or nothing, so a panic of another holder does no harm; nor when reading.
        let mut catalogs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        catalogs.insert(catalog.backend.clone(), catalog);
    }

    /// A backend's catalog.
    #[must_use]
    pub fn get(&self, backend: &BackendName) -> Option<Arc<Catalog>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(backend).cloned()
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Catalog>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Why nothing can be asked of a backend that has sent none, and what to do.
    #[must_use]
    pub fn no_catalog_of(&self, backend: &BackendName, frontend: &FrontendName) -> String {
        let known: Vec<_> = self.list().iter().map(|catalog| catalog.backend.to_string()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        format!(
            "unknown backend \"{backend}\". Known: {known}. Otherwise start a dispatcherd of that backend, with {frontend} \
             among the `frontends` of its config"
        )
    }
}
