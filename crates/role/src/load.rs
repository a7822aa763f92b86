//! Finding roles, and saying which can't be used and why.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use aegir_protocol::catalog::Role;
use aegir_protocol::manifest::Manifest;
use aegir_protocol::name::RoleName;
use aegir_service::room::passes;

use crate::files::{self, FilesError};
use crate::used;

/// Where a role's manifest stands.
pub const MANIFEST: &str = "meta/aegir.yml";

/// Where roles are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// Directories of roles: each subdirectory with a [`MANIFEST`] is one.
    pub roles: Vec<PathBuf>,
    /// Directories with installed collections: roles are in `ansible_collections/<namespace>/<name>/roles/`. One that is
    /// not there has none.
    pub collections: Vec<PathBuf>,
}

/// A role that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The directory that its digest is of: its own, or that of its collection, whose modules it may use.
    pub path: PathBuf,
    /// What it can do.
    pub role: Role,
}

/// What the configured directories hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Roles that can be used, and where they are.
    pub roles: BTreeMap<RoleName, Located>,
    /// Roles that can't, and why.
    pub left_out: BTreeMap<String, Vec<String>>,
    /// What kept one from being read that says nothing against it, such as too many open files.
    pub busy: Option<String>,
}

/// A directory with a manifest.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    /// `namespace.name` of its collection, and where that is.
    collection: Option<(String, PathBuf)>,
}

impl Found {
    fn note(&mut self, error: &io::Error, reason: &str) {
        if passes(error) {
            self.busy = Some(reason.to_owned());
        }
    }

    /// Moves a role from what can be used to what can't.
    pub fn leave_out(&mut self, name: &RoleName, reason: String) {
        self.roles.remove(name);
        self.left_out.entry(name.to_string()).or_default().push(reason);
    }

    fn unreadable(&mut self, directory: &Path, error: &io::Error) {
        let reason = format!("the directory can't be read: {error}");
        self.note(error, &reason);
        self.left_out.entry(directory.display().to_string()).or_default().push(reason);
    }
}

impl Places {
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

/// Reads every role in these places. One that is not right is left out with all that is wrong with it, and never keeps
/// the others from being used.
#[must_use]
pub fn load(places: &Places) -> Found {
    let mut found = Found::default();
    let mut by_name: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    let roles = places.roles.iter().map(|directory| (directory, in_directory(directory, None)));
    let collections = places.collections.iter().map(|directory| (directory, in_collections(directory)));
    for (directory, roles) in roles.chain(collections) {
        match roles {
            Ok(roles) => {
                for (name, place) in roles {
                    by_name.entry(name).or_default().push(place);
                }
            }
            Err(error) => found.unreadable(directory, &error),
        }
    }
    for (name, places) in by_name {
        match one(&name, &places, &mut found) {
            Ok((name, located)) => {
                found.roles.insert(name, located);
            }
            Err(reasons) => {
                found.left_out.entry(name).or_default().extend(reasons);
            }
        }
    }
    found
}

/// What is wrong with the role in this directory; empty when nothing is.
#[must_use]
pub fn check(path: &Path) -> Vec<String> {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = Place { path: path.to_owned(), collection: None };
    one(&name, &[place], &mut Found::default()).err().unwrap_or_default()
}

fn in_directory(
    directory: &Path,
    collection: Option<&(String, PathBuf)>,
) -> io::Result<Vec<(String, Place)>> {
    let mut roles = Vec::new();
    for (name, path) in subdirectories(directory)? {
        if path.join(MANIFEST).is_file() {
            roles.push((name, Place { path, collection: collection.cloned() }));
        }
    }
    Ok(roles)
}

fn in_collections(directory: &Path) -> io::Result<Vec<(String, Place)>> {
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

fn one(name: &str, places: &[Place], found: &mut Found) -> Result<(RoleName, Located), Vec<String>> {
    let [Place { path, collection }] = places else {
        let places: Vec<_> = places.iter().map(|place| place.path.display().to_string()).collect();
        let places = places.join(" and ");
        return Err(vec![format!("there are several roles of this name, in {places}: rename all but one")]);
    };
    let name: RoleName = name.parse().map_err(|error| vec![format!("{error}")])?;
    let text = std::fs::read_to_string(path.join(MANIFEST)).map_err(|error| {
        let reason = format!("{MANIFEST} can't be read: {error}");
        found.note(&error, &reason);
        vec![reason]
    })?;
    let manifest: Manifest =
        yaml_serde::from_str(&text).map_err(|error| vec![format!("{MANIFEST}: {error}")])?;
    let mut wrong: Vec<_> =
        manifest.check().into_iter().map(|error| format!("{MANIFEST}: {error}")).collect();
    wrong.extend(missing_task_files(path, &manifest));
    wrong.extend(used::check(path, &name, &manifest));
    let (collection, content) = match collection {
        Some((collection, content)) => (Some(collection.clone()), content),
        None => (None, path),
    };
    let digest = files::digest(content).map_err(|error| {
        if let FilesError::Read { error: source, .. } = &error {
            found.note(source, &error.to_string());
        }
        wrong.push(error.to_string());
    });
    match digest {
        Ok(digest) if wrong.is_empty() => {
            let role = Role { digest, collection, manifest };
            Ok((name, Located { path: content.clone(), role }))
        }
        Ok(_) | Err(()) => Err(wrong),
    }
}

fn missing_task_files(path: &Path, manifest: &Manifest) -> Vec<String> {
    let missing = manifest.tasks.iter().filter_map(|(name, task)| {
        let file = task.task_file(name)?;
        let there = path.join("tasks").join(&file).is_file();
        (!there).then(|| format!("tasks.{name}: there is no file tasks/{file}"))
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "{schema: aegir.role/0, title: T, targets: [site], operations: {run: {title: Run, \
                        tasks: [a]}}, tasks: {a: {}}}";

    fn role(directory: &Path, name: &str, manifest: &str, task_file: Option<&str>) {
        let role = directory.join(name);
        std::fs::create_dir_all(role.join("meta")).unwrap();
        std::fs::create_dir_all(role.join("tasks")).unwrap();
        std::fs::write(role.join(MANIFEST), manifest).unwrap();
        if let Some(file) = task_file {
            std::fs::write(role.join("tasks").join(file), "[]").unwrap();
        }
    }

    fn of(roles: &[&Path]) -> Places {
        Places { roles: roles.iter().map(|path| (*path).to_owned()).collect(), collections: Vec::new() }
    }

    #[track_caller]
    fn left_out(places: &Places, name: &str, part: &str) {
        let found = load(places);
        let reasons = found.left_out.get(name).map(|reasons| reasons.join("; ")).unwrap_or_default();
        assert!(reasons.contains(part), "{part:?} is not in {reasons:?}; {:?}", found.left_out);
        assert!(!found.roles.keys().any(|role| role.as_str() == name));
    }

    #[test]
    fn a_role_is_left_out_with_its_reason_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (place, places) = (directory.path(), of(&[directory.path()]));
        role(place, "good", GOOD, Some("a.yml"));
        role(place, "no_file", GOOD, None);
        role(place, "no_yaml", "{", Some("a.yml"));
        role(place, "no_key", &GOOD.replace("title: T", "titel: T"), Some("a.yml"));
        role(place, "no_task", &GOOD.replace("[a]", "[b]"), Some("a.yml"));
        role(place, "No-Name", GOOD, Some("a.yml"));
        std::fs::create_dir(place.join("plain_ansible_role")).unwrap();

        left_out(&places, "no_file", "there is no file tasks/a.yml");
        left_out(&places, "no_yaml", "meta/aegir.yml");
        left_out(&places, "no_key", "titel");
        left_out(&places, "no_task", "names b");
        left_out(&places, "No-Name", "is not a role's name");
        let found = load(&places);
        assert_eq!(found.roles.keys().map(RoleName::as_str).collect::<Vec<_>>(), ["good"]);
        assert_eq!(found.left_out.len(), 5);
    }

    #[test]
    fn of_two_roles_of_one_name_neither_is_used() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        role(first.path(), "same", GOOD, Some("a.yml"));
        role(second.path(), "same", GOOD, Some("a.yml"));
        left_out(&of(&[first.path(), second.path()]), "same", "several roles");
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        left_out(&of(&[Path::new("/nowhere")]), "/nowhere", "can't be read");
    }

    #[test]
    fn roles_of_collections_have_the_digest_of_the_whole_collection() {
        let directory = tempfile::tempdir().unwrap();
        let collection = directory.path().join("ansible_collections/our/apps");
        role(&collection.join("roles"), "shop", GOOD, Some("a.yml"));
        std::fs::create_dir_all(directory.path().join("ansible_collections/other/none")).unwrap();
        let nowhere = directory.path().join("nowhere");
        let places = Places { roles: Vec::new(), collections: vec![directory.path().to_owned(), nowhere] };
        let found = load(&places);
        assert_eq!(found.left_out, BTreeMap::new());
        let located = &found.roles[&"shop".parse().unwrap()];
        assert_eq!((&located.path, located.role.collection.as_deref()), (&collection, Some("our.apps")));
        assert_eq!(places.directories(), std::slice::from_ref(&collection));
        std::fs::create_dir_all(collection.join("plugins/modules")).unwrap();
        std::fs::write(collection.join("plugins/modules/shop_list.py"), "#").unwrap();
        let again = load(&places);
        assert_ne!(again.roles[&"shop".parse().unwrap()].role.digest, located.role.digest);
    }
}
