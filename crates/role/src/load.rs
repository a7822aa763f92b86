//! Finding roles, and saying which can't be used and why.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use aegir_catalog::manifest::Manifest;
use aegir_catalog::{Role, complete};
use aegir_protocol::name::RoleName;
use aegir_service::io_error::is_transient;
use sha2::{Digest as _, Sha256};

use crate::files::{self, FilesError};
use crate::inspect::{InspectedRole, RoleFindings, inspect};
use crate::role_paths::{MANIFEST, RoleDirectory, RolePaths, in_collections, in_directory};
use crate::undeclared;

/// A role that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct LocatedRole {
    /// Its own directory, or that of its collection, whose modules it may use.
    pub path: PathBuf,
    /// SHA-256 of the files there. Where it uses other roles, its digest is of theirs too.
    pub files: String,
    /// The other roles that its tasks build on.
    pub uses: BTreeSet<RoleName>,
    /// What it can do.
    pub role: Role,
}

/// What the configured directories hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadedRoles {
    /// Roles that can be used, and where they are.
    pub roles: BTreeMap<RoleName, LocatedRole>,
    /// Roles that can't, and why.
    pub left_out: BTreeMap<String, Vec<String>>,
    /// What kept one from being read that says nothing against it, such as too many open files.
    pub busy: Option<String>,
}

/// What was read of the roles in these places, by name.
type Manifests = BTreeMap<RoleName, (RoleDirectory, Manifest)>;
/// What the files in a directory come to. Read once, so that all who use them mean the same files.
type Digests = BTreeMap<PathBuf, Result<String, String>>;

impl LoadedRoles {
    fn note(&mut self, error: &io::Error, reason: &str) {
        if is_transient(error) {
            self.busy = Some(reason.to_owned());
        }
    }

    /// Moves a role from what can be used to what can't, with those that use it.
    pub fn leave_out(&mut self, name: &RoleName, reason: String) {
        self.roles.remove(name);
        self.left_out.entry(name.to_string()).or_default().push(reason);
        self.leave_out_users();
    }

    fn leave_out_users(&mut self) {
        let of_a_missing_one = |(name, located): (&RoleName, &LocatedRole)| {
            let missing = located.uses.iter().find(|used| !self.roles.contains_key(*used))?;
            Some((name.clone(), format!("it uses role {missing}, which is left out itself")))
        };
        // Whoever uses that one is found then.
        if let Some((name, reason)) = self.roles.iter().find_map(of_a_missing_one) {
            self.leave_out(&name, reason);
        }
    }

    fn unreadable(&mut self, directory: &Path, error: &io::Error) {
        let reason = format!("the directory can't be read: {error}");
        self.note(error, &reason);
        self.left_out.entry(directory.display().to_string()).or_default().push(reason);
    }
}

/// Reads every role in these places. One that is not right is left out with all that is wrong with it, and never keeps
/// the others from being used.
#[must_use]
pub fn load(role_paths: &RolePaths) -> LoadedRoles {
    let mut found = LoadedRoles::default();
    let mut by_name: BTreeMap<String, Vec<RoleDirectory>> = BTreeMap::new();
    let roles = role_paths.roles.iter().map(|directory| (directory, in_directory(directory, None)));
    let collections = role_paths.collections.iter().map(|directory| (directory, in_collections(directory)));
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
    let mut manifests = Manifests::new();
    for (name, role_paths) in by_name {
        match read(&name, role_paths, &mut found) {
            Ok((name, read)) => drop(manifests.insert(name, read)),
            Err(reason) => found.left_out.entry(name).or_default().push(reason),
        }
    }
    let mut digests = Digests::new();
    for name in manifests.keys() {
        match one(name, &manifests, &mut digests, &mut found) {
            Ok(located) => drop(found.roles.insert(name.clone(), located)),
            Err(reasons) => found.left_out.entry(name.to_string()).or_default().extend(reasons),
        }
    }
    found.leave_out_users();
    found
}

/// What is wrong with the role in this directory; empty when nothing is. Roles that it uses are looked for beside it, and
/// in these directories.
#[must_use]
pub fn check(path: &Path, directories: &[PathBuf]) -> Vec<String> {
    report(path, directories, &[]).problems
}

/// The same with notes, about a role that may be in order. Playbooks are looked for below the `content` directories.
#[must_use]
pub fn report(path: &Path, directories: &[PathBuf], content: &[PathBuf]) -> RoleFindings {
    let of = |problem: String| RoleFindings { problems: vec![problem], notes: Vec::new() };
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Some(own) = whole.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return of("it has no name".to_owned());
    };
    let mut found = LoadedRoles::default();
    let mut manifests = Manifests::new();
    let mut wanted = vec![(own, path.to_owned())];
    let mut own = None;
    while let Some((name, path)) = wanted.pop() {
        let (name, read) = match read(&name, vec![RoleDirectory { path, collection: None }], &mut found) {
            Ok(read) => read,
            Err(reason) if own.is_none() => return of(reason),
            // Whoever uses it says that it is not there.
            Err(_) => continue,
        };
        own.get_or_insert_with(|| name.clone());
        let tasks = read.1.tasks.values().filter_map(|task| Some(&task.uses.as_ref()?.role));
        let operations =
            read.1.operations.values().filter_map(|operation| Some(&operation.uses.as_ref()?.role));
        for used in tasks.chain(operations) {
            let beside = [whole.with_file_name(used.as_str())];
            let elsewhere = directories.iter().map(|directory| directory.join(used.as_str()));
            let place = beside.into_iter().chain(elsewhere).find(|path| path.join(MANIFEST).is_file());
            let is_new = *used != name && !manifests.contains_key(used);
            wanted.extend(place.filter(|_| is_new).map(|path| (used.to_string(), path)));
        }
        manifests.insert(name, read);
    }
    let Some(name) = own else { return RoleFindings::default() };
    let mut problems = one(&name, &manifests, &mut Digests::new(), &mut found).err().unwrap_or_default();
    let said = manifests.iter().map(|(name, (_, manifest))| (name.clone(), manifest)).collect();
    // Where that can't be completed, what is wrong with it is among the problems.
    let (manifest, uses) =
        complete(&name, &said).unwrap_or_else(|_| (manifests[&name].1.clone(), BTreeSet::new()));
    let subject =
        InspectedRole { name: &name, path: &manifests[&name].0.path, manifest: &manifest, uses: &uses };
    let RoleFindings { problems: more, notes } = inspect(subject, content);
    problems.extend(more);
    RoleFindings { problems, notes }
}

fn read(
    name: &str,
    role_paths: Vec<RoleDirectory>,
    found: &mut LoadedRoles,
) -> Result<(RoleName, (RoleDirectory, Manifest)), String> {
    let [place] = <[RoleDirectory; 1]>::try_from(role_paths).map_err(|role_paths| {
        let role_paths: Vec<_> = role_paths.iter().map(|place| place.path.display().to_string()).collect();
        let role_paths = role_paths.join(" and ");
        format!("there are several roles of this name, in {role_paths}: rename all but one")
    })?;
    let name: RoleName = name.parse().map_err(|error| format!("{error}"))?;
    let text = std::fs::read_to_string(place.path.join(MANIFEST)).map_err(|error| {
        let reason = format!("{MANIFEST} can't be read: {error}");
        found.note(&error, &reason);
        reason
    })?;
    let manifest = yaml_serde::from_str(&text).map_err(|error| format!("{MANIFEST}: {error}"))?;
    Ok((name, (place, manifest)))
}

fn one(
    name: &RoleName,
    manifests: &Manifests,
    digests: &mut Digests,
    found: &mut LoadedRoles,
) -> Result<LocatedRole, Vec<String>> {
    let (RoleDirectory { path, collection }, _) = &manifests[name];
    let said = manifests.iter().map(|(name, (_, manifest))| (name.clone(), manifest)).collect();
    let (manifest, uses) = complete(name, &said)
        .map_err(|wrong| wrong.into_iter().map(|error| format!("{MANIFEST}: {error}")).collect::<Vec<_>>())?;
    let mut wrong: Vec<_> =
        manifest.check().into_iter().map(|error| format!("{MANIFEST}: {error}")).collect();
    wrong.extend(missing_task_files(path, &manifest));
    let beside = manifests.iter().map(|(name, (place, _))| (name.clone(), place.path.clone())).collect();
    wrong.extend(undeclared::check(undeclared::Files { name, path, beside: &beside }, &manifest));
    wrong.extend(undeclared::check_used(&manifest, &beside, &said));
    let (collection, content) = match collection {
        Some((collection, content)) => (Some(collection.clone()), content),
        None => (None, path),
    };
    let collection_of = |role: &RoleName| manifests[role].0.collection.as_ref().map(|(name, _)| name);
    if let Some(used) = uses.iter().find(|used| collection_of(used) != collection.as_ref()) {
        wrong.push(format!(
            "{MANIFEST}: it uses role {used}, and only one of the two is in a collection, or they are in different ones"
        ));
    }
    let mut digest = |content: &Path| {
        let known = digests.entry(content.to_owned()).or_insert_with(|| {
            files::digest(content).map_err(|error| {
                if let FilesError::Read { error: source, .. } = &error {
                    found.note(source, &error.to_string());
                }
                error.to_string()
            })
        });
        known.clone()
    };
    let files = digest(content);
    // What is in the same collection is among its files already.
    let others = uses.iter().filter(|_| collection.is_none());
    let used = others.map(|used| Ok((used.as_str(), digest(&manifests[used].0.path)?)));
    match (files, used.collect::<Result<Vec<_>, String>>()) {
        (Ok(files), Ok(used)) if wrong.is_empty() => {
            let role = Role { digest: of_all(name, &files, &used), collection, manifest };
            Ok(LocatedRole { path: content.clone(), files, uses, role })
        }
        (Ok(_), Ok(_)) => Err(wrong),
        (Err(error), _) | (_, Err(error)) => {
            wrong.push(error);
            Err(wrong)
        }
    }
}

/// The digest of a role together with those that it uses.
fn of_all(name: &RoleName, files: &str, used: &[(&str, String)]) -> String {
    if used.is_empty() {
        return files.to_owned();
    }
    let mut hash = Sha256::new();
    for (name, digest) in
        used.iter().map(|(name, digest)| (*name, digest.as_str())).chain([(name.as_str(), files)])
    {
        hash.update(format!("{name} {digest}\n"));
    }
    hex::encode(hash.finalize())
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

    fn of(roles: &[&Path]) -> RolePaths {
        RolePaths { roles: roles.iter().map(|path| (*path).to_owned()).collect(), collections: Vec::new() }
    }

    #[track_caller]
    fn left_out(role_paths: &RolePaths, name: &str, part: &str) {
        let found = load(role_paths);
        let reasons = found.left_out.get(name).map(|reasons| reasons.join("; ")).unwrap_or_default();
        assert!(reasons.contains(part), "{part:?} is not in {reasons:?}; {:?}", found.left_out);
        assert!(!found.roles.keys().any(|role| role.as_str() == name));
    }

    #[test]
    fn a_role_is_left_out_with_its_reason_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (place, role_paths) = (directory.path(), of(&[directory.path()]));
        role(place, "good", GOOD, Some("a.yml"));
        role(place, "no_file", GOOD, None);
        role(place, "no_yaml", "{", Some("a.yml"));
        role(place, "no_key", &GOOD.replace("title: T", "titel: T"), Some("a.yml"));
        role(place, "no_task", &GOOD.replace("[a]", "[b]"), Some("a.yml"));
        role(place, "No-Name", GOOD, Some("a.yml"));
        std::fs::create_dir(place.join("plain_ansible_role")).unwrap();

        left_out(&role_paths, "no_file", "there is no file tasks/a.yml");
        left_out(&role_paths, "no_yaml", "meta/aegir.yml");
        left_out(&role_paths, "no_key", "titel");
        left_out(&role_paths, "no_task", "names b");
        left_out(&role_paths, "No-Name", "is not a role's name");
        let found = load(&role_paths);
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
    fn a_role_changes_with_those_that_it_uses_and_goes_with_them() {
        let directory = tempfile::tempdir().unwrap();
        let (place, role_paths) = (directory.path(), of(&[directory.path()]));
        role(place, "base", GOOD, Some("a.yml"));
        role(place, "app", &GOOD.replace("a: {}", "a: {uses: base.a}"), Some("a.yml"));
        let digests = || {
            let found = load(&role_paths);
            let digest = |name: &str| found.roles[&name.parse().unwrap()].role.digest.clone();
            assert_eq!(found.left_out, BTreeMap::new());
            (digest("base"), digest("app"))
        };
        let first = digests();
        std::fs::write(place.join("base/tasks/more.yml"), "[]").unwrap();
        let second = digests();
        assert!(first.0 != second.0 && first.1 != second.1 && second.0 != second.1);
        assert_eq!(check(&place.join("app"), &[]), Vec::<String>::new());

        std::fs::remove_file(place.join("base/tasks/a.yml")).unwrap();
        left_out(&role_paths, "app", "it uses role base, which is left out itself");
        // Whatever the order of their names is.
        let zeta = GOOD.replace("a: {}", "a: {}, b: {}");
        role(place, "zeta", &zeta, Some("a.yml"));
        role(place, "base", &GOOD.replace("a: {}", "a: {uses: zeta.a}"), Some("a.yml"));
        left_out(&role_paths, "zeta", "there is no file tasks/b.yml");
        left_out(&role_paths, "app", "which is left out itself");
        std::fs::remove_dir_all(place.join("base")).unwrap();
        left_out(&role_paths, "app", "tasks.a: uses base.a, and there is no role base beside it");
        assert_eq!(check(&place.join("app"), &[]).len(), 1);
    }

    #[test]
    fn a_role_hands_over_what_the_one_that_it_uses_takes() {
        let directory = tempfile::tempdir().unwrap();
        let (place, role_paths) = (directory.path(), of(&[directory.path()]));
        let base = GOOD.replace("a: {}", "a: {}, dump: {outputs: {backup: {type: string}}}");
        let base = base.replace("[a]", "[dump, a]");
        role(place, "base", &base, Some("a.yml"));
        let tasks = |text: &str| std::fs::write(place.join("base/tasks/a.yml"), text).unwrap();
        std::fs::write(place.join("base/tasks/dump.yml"), "[]").unwrap();
        tasks("- ansible.builtin.debug: {var: aegir.outputs.dump.backup.path}");
        let app = |task: &str| {
            let tasks = format!("a: {{uses: base.a}}, {task}: {{outputs: {{backup: {{type: string}}}}}}");
            role(place, "app", &GOOD.replace("a: {}", &tasks), Some("a.yml"));
            std::fs::write(place.join("app/tasks").join(format!("{task}.yml")), "[]").unwrap();
        };
        app("save");
        let why = "task a uses aegir.outputs.dump.backup, and no task dump has backup among its outputs, which base.a takes from it";
        assert_eq!(check(&place.join("app"), &[]), [why]);
        left_out(&role_paths, "app", why);
        app("dump");
        assert_eq!(load(&role_paths).left_out, BTreeMap::new());
        // It does without, and says so.
        app("save");
        tasks("- ansible.builtin.debug: {msg: '{{ aegir.outputs.dump.backup | default(1) }}'}");
        assert_eq!(check(&place.join("app"), &[]), Vec::<String>::new());
        tasks(
            "- ansible.builtin.debug: {var: aegir.outputs.dump.backup}\n  when: aegir.outputs.dump is defined",
        );
        assert_eq!(check(&place.join("app"), &[]), Vec::<String>::new());
    }

    #[test]
    fn roles_of_collections_have_the_digest_of_the_whole_collection() {
        let directory = tempfile::tempdir().unwrap();
        let collection = directory.path().join("ansible_collections/our/apps");
        role(&collection.join("roles"), "shop", GOOD, Some("a.yml"));
        std::fs::create_dir_all(directory.path().join("ansible_collections/other/none")).unwrap();
        let nowhere = directory.path().join("nowhere");
        let role_paths =
            RolePaths { roles: Vec::new(), collections: vec![directory.path().to_owned(), nowhere] };
        let found = load(&role_paths);
        assert_eq!(found.left_out, BTreeMap::new());
        let located = &found.roles[&"shop".parse().unwrap()];
        assert_eq!((&located.path, located.role.collection.as_deref()), (&collection, Some("our.apps")));
        assert_eq!(role_paths.directories(), std::slice::from_ref(&collection));
        std::fs::create_dir_all(collection.join("plugins/modules")).unwrap();
        std::fs::write(collection.join("plugins/modules/shop_list.py"), "#").unwrap();
        let again = load(&role_paths);
        assert_ne!(again.roles[&"shop".parse().unwrap()].role.digest, located.role.digest);
    }
}
