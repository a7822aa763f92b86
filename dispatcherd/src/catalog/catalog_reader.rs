//! The catalog as it stands, and keeping it so.

use std::path::PathBuf;
use std::sync::Arc;

use aegir_attempt::plan::content_within;
use aegir_catalog::Catalog;
use aegir_protocol::limits::MAX_MESSAGE;
use aegir_protocol::message::encode;
use aegir_protocol::name::{BackendName, NodeName, RoleName};
use aegir_role::{LoadedRoles, LocatedRole, RolePaths, files, load};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::snapshot::{self, ContentPart, SnapshotError};

/// Whose catalog it is, and where the roles are.
#[derive(Clone, Debug)]
pub struct CatalogReader {
    pub backend: BackendName,
    /// Who sends it.
    pub node: NodeName,
    /// What secrets are sealed for.
    pub recipient: String,
    /// Where roles are looked for.
    pub role_paths: RolePaths,
    /// Where they are kept by digest; `None` for looking only.
    pub content: Option<PathBuf>,
}

impl CatalogReader {
    /// Reads all roles, keeps a copy of each, and says what the backend can do. A role that can't be kept
    /// is left out. Blocks on the disk.
    ///
    /// # Errors
    /// When they can't be read, or there is no room for the copies, for now, which says nothing against the roles.
    pub fn read(&self) -> Result<Arc<Catalog>, SnapshotError> {
        let mut found = load(&self.role_paths);
        if let Some(reason) = found.busy.take() {
            return Err(SnapshotError::Busy(reason));
        }
        if let Some(content) = &self.content {
            let roles = found.roles.clone();
            for (name, LocatedRole { uses, role, .. }) in &roles {
                let parts: Vec<_> =
                    std::iter::once(name).chain(uses).map(|name| part(name, &roles[name])).collect();
                match snapshot::keep(content, &parts, &role.digest) {
                    Err(error) if error.is_transient() => return Err(error),
                    Err(error) => found.leave_out(name, error.to_string()),
                    Ok(()) => {}
                }
            }
        }
        Ok(Arc::new(self.catalog(found)))
    }

    fn catalog(&self, mut found: LoadedRoles) -> Catalog {
        loop {
            let catalog = self.whole(&found);
            let size = encode(&catalog).len();
            if size <= MAX_MESSAGE {
                return catalog;
            }
            let largest = catalog.roles.iter().max_by_key(|(_, role)| json(role).len());
            let Some((largest, _)) = largest else { return catalog };
            let reason = format!(
                "it is the largest of a catalog of {size} bytes, and {MAX_MESSAGE} can be sent: move roles to another \
                 backend, or make its manifest smaller"
            );
            found.leave_out(largest, reason);
        }
    }

    fn whole(&self, found: &LoadedRoles) -> Catalog {
        let mut catalog = Catalog {
            backend: self.backend.clone(),
            node: self.node.clone(),
            recipient: self.recipient.clone(),
            digest: String::new(),
            roles: found.roles.iter().map(|(name, located)| (name.clone(), located.role.clone())).collect(),
            left_out: found.left_out.clone(),
        };
        let told = (&catalog.recipient, &catalog.roles, &catalog.left_out);
        catalog.digest = hex::encode(Sha256::digest(json(&told)));
        catalog
    }

    /// The cheap question whether [`CatalogReader::read`] could say something else than it did.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        files::fingerprint(&self.role_paths.directories())
    }
}

fn json(told: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(told).expect("a catalog has string keys and no failing serializers")
}

fn part<'a>(name: &RoleName, located: &'a LocatedRole) -> ContentPart<'a> {
    let inside = content_within(name, located.role.collection.as_deref());
    ContentPart { inside, files: &located.path, digest: &located.files }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aegir_testkit::SmallDisk;
    use std::path::Path;

    fn catalog_reader(state: &Path) -> CatalogReader {
        CatalogReader {
            backend: "main".parse().unwrap(),
            node: "node1".parse().unwrap(),
            recipient: "age1".to_owned(),
            role_paths: RolePaths {
                roles: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roles")],
                collections: Vec::new(),
            },
            content: Some(state.join("content")),
        }
    }

    #[test]
    fn a_full_disk_is_said_and_leaves_out_no_role() {
        let place = tempfile::tempdir().unwrap();
        let Some(disk) = SmallDisk::mount(&place.path().join("state"), "1m").unwrap() else { return };
        let catalog_reader = catalog_reader(disk.path());
        disk.fill(0).unwrap();
        assert!(catalog_reader.read().unwrap_err().is_transient());
        disk.make_room().unwrap();
        let catalog = catalog_reader.read().unwrap();
        assert_eq!((catalog.roles.len(), catalog.left_out.len()), (1, 0));
        // What is kept is there on a full disk, too.
        disk.fill(0).unwrap();
        assert_eq!(catalog_reader.read().unwrap(), catalog);
    }

    #[test]
    fn the_fixture_roles_make_a_catalog_with_a_steady_digest() {
        let state = tempfile::tempdir().unwrap();
        let catalog_reader = catalog_reader(state.path());
        let catalog = catalog_reader.read().unwrap();
        assert_eq!(catalog.left_out, std::collections::BTreeMap::new());
        let role = &catalog.roles[&"example".parse().unwrap()];
        assert!(state.path().join("content").join(&role.digest).join("example").is_dir());
        assert_eq!(catalog_reader.read().unwrap(), catalog);
        assert_eq!(catalog_reader.fingerprint(), catalog_reader.fingerprint());
    }

    #[test]
    fn what_makes_a_catalog_too_large_is_left_out_of_it() {
        let place = tempfile::tempdir().unwrap();
        for (role, length) in [("large", 600_000), ("larger", 700_000), ("small", 10)] {
            let directory = place.path().join("roles").join(role);
            std::fs::create_dir_all(directory.join("meta")).unwrap();
            std::fs::create_dir_all(directory.join("tasks")).unwrap();
            let manifest = serde_json::json!({
                "schema": "aegir.role/0", "title": role, "summary": "x".repeat(length), "targets": ["site"],
                "operations": {"run": {"title": "Run", "tasks": ["run"]}}, "tasks": {"run": {"title": "Run"}},
            });
            std::fs::write(directory.join("meta/aegir.yml"), manifest.to_string()).unwrap();
            std::fs::write(directory.join("tasks/run.yml"), "[]").unwrap();
        }
        let mut catalog_reader = catalog_reader(place.path());
        catalog_reader.role_paths.roles = vec![place.path().join("roles")];
        let catalog = catalog_reader.read().unwrap();
        assert_eq!(catalog.roles.keys().map(RoleName::as_str).collect::<Vec<_>>(), ["large", "small"]);
        assert!(catalog.left_out["larger"][0].contains("1048576 can be sent"), "{:?}", catalog.left_out);
        assert!(encode(&*catalog).len() <= MAX_MESSAGE);
    }
}
