//! The JSON Schemas of manifests and catalogs.

use aegir_protocol::schema::{message, of};
use schemars::Schema;

use crate::catalog::Catalog;
use crate::manifest::Manifest;
use crate::runner;

/// That of a role's manifest, for editors.
#[must_use]
pub fn role() -> Schema {
    of::<Manifest>()
}

/// Every schema by its file name without `.json`.
#[must_use]
pub fn all() -> Vec<(String, Schema)> {
    let others =
        [("role", role()), ("runner.input", of::<runner::Input>()), ("runner.line", of::<runner::Line>())];
    message::<Catalog>().into_iter().chain(others.map(|(name, schema)| (name.to_owned(), schema))).collect()
}
