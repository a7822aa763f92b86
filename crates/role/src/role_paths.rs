//! Where roles are: directories of roles, and installed collections.

use std::io;
use std::path::{Path, PathBuf};

/// Where a role's manifest stands.
pub const MANIFEST: &str = "meta/aegir.yml";

/// Where roles are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolePaths {
    /// Directories of roles: each subdirectory with a [`MANIFEST`] is one.
    pub roles: Vec<PathBuf>,
    /// Directories with installed collections: roles are in `ansible_collections/<namespace>/<name>/roles/`. One that is
    /// not there has none.
    pub collections: Vec<PathBuf>,
}

/// A directory with a manifest.
#[derive(Clone, Debug)]
pub(crate) struct RoleDirectory {
    pub(crate) path: PathBuf,
    /// `namespace.name` of its collection, and where that is.
    pub(crate) collection: Option<(String, PathBuf)>,
}

impl RolePaths {
    /// The directories whose files make the roles what they are.
    #[must_use]
    pub fn directories(&self) -> Vec<PathBuf> {
        let collections = self.collections.iter().filter_map(|directory| in_collections(directory).ok());
        let collections = collections.flatten().filter_map(|(_, place)| Some(place.collection?.1));
        let mut directories: Vec<_> = self.roles.iter().cloned().chain(collections).collect();
        // A collection comes once for each of its roles.
        directories.dedup();
        directories
    }
}

/// The roles in a directory of roles, sorted.
///
/// # Errors
/// When it can't be read.
pub fn roles_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(in_directory(directory, None)?.into_iter().map(|(_, place)| place.path).collect())
}

pub(crate) fn in_directory(
    directory: &Path,
    collection: Option<&(String, PathBuf)>,
) -> io::Result<Vec<(String, RoleDirectory)>> {
    let mut roles = Vec::new();
    for (name, path) in subdirectories(directory)? {
        if path.join(MANIFEST).is_file() {
            roles.push((name, RoleDirectory { path, collection: collection.cloned() }));
        }
    }
    Ok(roles)
}

pub(crate) fn in_collections(directory: &Path) -> io::Result<Vec<(String, RoleDirectory)>> {
    let mut roles = Vec::new();
    for (namespace, path) in not_there_is_empty(subdirectories(&directory.join("ansible_collections")))? {
        for (name, path) in subdirectories(&path)? {
            let collection = Some((format!("{namespace}.{name}"), path.clone()));
            let found = in_directory(&path.join("roles"), collection.as_ref());
            roles.extend(not_there_is_empty(found)?);
        }
    }
    Ok(roles)
}

fn not_there_is_empty<T>(found: io::Result<Vec<T>>) -> io::Result<Vec<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

fn subdirectories(directory: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir()
            && let Some(name) = path.file_name()
        {
            found.push((name.to_string_lossy().into_owned(), path));
        }
    }
    found.sort();
    Ok(found)
}
