//! Finding roles, and saying which can't be used and why.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use aegir_protocol::catalog::Role;
use aegir_protocol::manifest::Manifest;
use aegir_protocol::name::RoleName;

use super::files::{self, FilesError};
use crate::journal::passes;

/// Where a role's manifest stands.
pub const MANIFEST: &str = "meta/aegir.yml";

/// What the configured directories hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Roles that can be used, and where they are.
    pub roles: BTreeMap<RoleName, (PathBuf, Role)>,
    /// Roles that can't, and why.
    pub left_out: BTreeMap<String, Vec<String>>,
    /// What kept one from being read that says nothing against it, such as too many open files.
    pub busy: Option<String>,
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
}

/// Reads every role in these directories: each subdirectory with a [`MANIFEST`]. One that is not right is
/// left out with all that is wrong with it, and never keeps the others from being used.
#[must_use]
pub fn load(directories: &[PathBuf]) -> Found {
    let mut found = Found::default();
    let mut places: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories {
        match subdirectories(directory) {
            Ok(roles) => {
                for (name, path) in roles {
                    places.entry(name).or_default().push(path);
                }
            }
            Err(error) => {
                let reason = format!("the directory can't be read: {error}");
                found.note(&error, &reason);
                found.left_out.entry(directory.display().to_string()).or_default().push(reason);
            }
        }
    }
    for (name, paths) in places {
        match one(&name, &paths, &mut found) {
            Ok((name, path, role)) => {
                found.roles.insert(name, (path, role));
            }
            Err(reasons) => {
                found.left_out.entry(name).or_default().extend(reasons);
            }
        }
    }
    found
}

fn subdirectories(directory: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut roles = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.join(MANIFEST).is_file()
            && let Some(name) = path.file_name()
        {
            roles.push((name.to_string_lossy().into_owned(), path));
        }
    }
    roles.sort();
    Ok(roles)
}

fn one(name: &str, paths: &[PathBuf], found: &mut Found) -> Result<(RoleName, PathBuf, Role), Vec<String>> {
    let [path] = paths else {
        let places: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
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
    let digest = files::digest(path).map_err(|error| {
        if let FilesError::Read { error: source, .. } = &error {
            found.note(source, &error.to_string());
        }
        wrong.push(error.to_string());
    });
    match digest {
        Ok(digest) if wrong.is_empty() => Ok((name, path.clone(), Role { digest, manifest })),
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

    #[track_caller]
    fn left_out(directories: &[PathBuf], name: &str, part: &str) {
        let found = load(directories);
        let reasons = found.left_out.get(name).map(|reasons| reasons.join("; ")).unwrap_or_default();
        assert!(reasons.contains(part), "{part:?} is not in {reasons:?}; {:?}", found.left_out);
        assert!(!found.roles.keys().any(|role| role.as_str() == name));
    }

    #[test]
    fn a_role_is_left_out_with_its_reason_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (place, directories) = (directory.path(), [directory.path().to_owned()]);
        role(place, "good", GOOD, Some("a.yml"));
        role(place, "no_file", GOOD, None);
        role(place, "no_yaml", "{", Some("a.yml"));
        role(place, "no_key", &GOOD.replace("title: T", "titel: T"), Some("a.yml"));
        role(place, "no_task", &GOOD.replace("[a]", "[b]"), Some("a.yml"));
        role(place, "No-Name", GOOD, Some("a.yml"));
        std::fs::create_dir(place.join("plain_ansible_role")).unwrap();

        left_out(&directories, "no_file", "there is no file tasks/a.yml");
        left_out(&directories, "no_yaml", "meta/aegir.yml");
        left_out(&directories, "no_key", "titel");
        left_out(&directories, "no_task", "names b");
        left_out(&directories, "No-Name", "is not a role's name");
        let found = load(&directories);
        assert_eq!(found.roles.keys().map(RoleName::as_str).collect::<Vec<_>>(), ["good"]);
        assert_eq!(found.left_out.len(), 5);
    }

    #[test]
    fn of_two_roles_of_one_name_neither_is_used() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        role(first.path(), "same", GOOD, Some("a.yml"));
        role(second.path(), "same", GOOD, Some("a.yml"));
        left_out(&[first.path().to_owned(), second.path().to_owned()], "same", "several roles");
    }

    #[test]
    fn a_directory_that_is_not_there_is_said() {
        left_out(&[PathBuf::from("/nowhere")], "/nowhere", "can't be read");
    }
}
