//! How hosts are reached, where a project says that itself. Ansible ranks some of it above the Operation's host entry, and the
//! work would be done elsewhere than on the host that is locked and whose key is checked: so none of it counts here, see
//! `aegir_hosts.py` beside dispatcherd.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::steps::YamlStep;
use crate::project::ProjectConfig;
use crate::undeclared::files_below;

pub(super) const LOGIN: &str =
    "the Operation's host entry and dispatcherd's config say how minions are reached";

/// Variables that say where a host is, who logs in there, and how. `ansible_ssh_host` and its like are other names that
/// Ansible ranks above `ansible_host`.
const VARIABLES: [&str; 15] = [
    "ansible_connection",
    "ansible_host",
    "ansible_ssh_host",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_ssh_executable",
    "ansible_host_key_checking",
    "ansible_ssh_host_key_checking",
];
/// dispatcherd's own host.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// More of an inventory is not read.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What a playbook, its steps, its variables and its inventories say of that, with file and line.
pub(super) fn notes(directory: &Path, steps: &[YamlStep], config: &ProjectConfig) -> Vec<String> {
    let mut notes = Vec::new();
    let mut seen = BTreeSet::new();
    for step in steps.iter().filter(|step| seen.insert(&step.file)) {
        let of_file = || steps.iter().filter(|other| other.file == step.file);
        // Only what is a variable there: the same words may stand in a text.
        let names: Vec<_> =
            VARIABLES.into_iter().filter(|name| of_file().any(|step| sets(step, name))).collect();
        let path = directory.join(&step.file);
        let found = lines(&path).into_iter().flat_map(|(number, line)| {
            names
                .iter()
                .filter(|name| says(&line, name))
                .map(|name| uncounted(&path, number, name))
                .collect::<Vec<_>>()
        });
        notes.extend(found);
    }
    let inventories = config.inventories();
    let mut role_paths: Vec<&Path> = vec![directory];
    // The variables beside an inventory count as well.
    role_paths.extend(
        inventories
            .iter()
            .filter_map(|path| if path.is_dir() { Some(path.as_path()) } else { path.parent() }),
    );
    let mut files = BTreeSet::new();
    for place in role_paths {
        for below in ["group_vars", "host_vars"] {
            files.extend(files_below(place, Path::new(below)).into_iter().map(|file| place.join(file)));
        }
    }
    for path in files.iter().filter(|path| !is_of_this_host(path)) {
        notes.extend(of_text(path, false));
    }
    for inventory in inventories {
        let of_directory =
            || files_below(&inventory, Path::new("")).into_iter().map(|file| inventory.join(file));
        let texts: Vec<PathBuf> =
            if inventory.is_dir() { of_directory().collect() } else { vec![inventory.clone()] };
        for path in texts.iter().filter(|path| !files.contains(*path)) {
            notes.extend(of_text(path, true));
        }
    }
    notes
}

fn sets(step: &YamlStep, name: &str) -> bool {
    let role_paths = step.keys.iter().filter(|(key, _)| key == "vars" || key == "set_fact");
    // A connection that a play or a step names is meant.
    name != "ansible_connection" && role_paths.into_iter().any(|(_, value)| value.get(name).is_some())
}

/// `host_vars/localhost.yml`.
fn is_of_this_host(path: &Path) -> bool {
    let mut parts = path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem()?.to_str());
    parts.any(|part| part == "host_vars") && parts.any(|part| HERE.contains(&part))
}

/// Of a file of variables or an inventory, in whatever form.
fn of_text(path: &Path, is_inventory: bool) -> Vec<String> {
    let mut notes = Vec::new();
    // Deeper than this is what is said of localhost, in YAML.
    let mut of_this_host: Option<usize> = None;
    for (number, line) in lines(path) {
        let indent = line.len() - line.trim_start().len();
        if of_this_host.is_some_and(|of| indent > of) {
            continue;
        }
        of_this_host = None;
        if is_inventory && names_this_host(&line) {
            of_this_host = Some(indent);
            notes.push(format!(
                "{}:{number}: `hosts: all` does not mean this inventory's localhost here, which is dispatcherd's own host: a \
                 play runs there that names it, or a group that has no other host",
                path.display()
            ));
            continue;
        }
        notes.extend(
            VARIABLES.into_iter().filter(|name| says(&line, name)).map(|name| uncounted(path, number, name)),
        );
    }
    notes
}

fn uncounted(path: &Path, number: usize, name: &str) -> String {
    format!("{}:{number}: {name} does not count here for the Operation's hosts: {LOGIN}", path.display())
}

/// `localhost …` or `"localhost": …`.
fn names_this_host(line: &str) -> bool {
    let line = line.trim_start().trim_start_matches(['"', '\'']);
    HERE.iter().filter_map(|name| line.strip_prefix(name)).any(|rest| {
        let rest = rest.trim_start_matches(['"', '\'']);
        rest.is_empty() || rest.starts_with([' ', '\t']) || rest.strip_prefix(':').is_some_and(ends_a_key)
    })
}

fn ends_a_key(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '\t'])
}

/// Whether a line gives a variable a value, as YAML, JSON or INI.
fn says(line: &str, name: &str) -> bool {
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let rest = line[at + name.len()..].trim_start_matches(['"', '\'']).trim_start();
        let assigned = rest.strip_prefix('=').is_some_and(|rest| !rest.starts_with('='));
        let is_whole = !line[..at].ends_with(is_of_word);
        is_whole
            && (assigned || rest.strip_prefix(':').is_some_and(|rest| ends_a_key(rest) || line.contains('{')))
    })
}

/// The lines of a text, numbered from 1, without those that are comments. Nothing of what is encrypted as a whole, and of what
/// is a program, which makes an inventory, its own text.
fn lines(path: &Path) -> Vec<(usize, String)> {
    let small = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= LONGEST);
    let text = small.then(|| std::fs::read_to_string(path).ok()).flatten().unwrap_or_default();
    if text.starts_with("$ANSIBLE_VAULT") || text.starts_with("#!") {
        return Vec::new();
    }
    let numbered = text.lines().enumerate().map(|(number, line)| (number + 1, line.to_owned()));
    numbered.filter(|(_, line)| !line.trim_start().starts_with(['#', ';'])).collect()
}
