//! What is looked at, and what is found.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use aegir_catalog::manifest::Manifest;
use aegir_protocol::name::RoleName;

/// A role that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InspectedRole<'a> {
    pub(crate) name: &'a RoleName,
    pub(crate) path: &'a Path,
    /// With what it has from the roles that it builds on.
    pub(crate) manifest: &'a Manifest,
    /// These roles.
    pub(crate) uses: &'a BTreeSet<RoleName>,
}

/// What is found, in sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoleFindings {
    /// What is wrong with the role.
    pub problems: Vec<String>,
    /// What its reader should know beside that.
    pub notes: Vec<String>,
}

/// The files with the source of a template.
pub(super) fn templates(role: &Path) -> Vec<PathBuf> {
    crate::undeclared::files_below(role, Path::new("templates"))
}
