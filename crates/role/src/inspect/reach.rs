//! How hosts are reached, where a project says that itself. Ansible ranks some of it above the Operation's host entry, and the
//! work would be done elsewhere than on the host that is locked and whose key is checked: so none of it counts here, see
//! `aegir_hosts.py` beside dispatcherd.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

use super::steps::{self, YamlStep};
use crate::project::{ConfigKey, ProjectConfig};
use crate::undeclared::files_below;

pub(super) const LOGIN: &str =
    "the Operation's host entry and dispatcherd's config say how minions are reached";

/// The connection of a play or a step, where its own `vars` name one.
const CONNECTION: &str = "ansible_connection";
/// Variables that say where a host is, who logs in there, and how. `ansible_ssh_host` and its like are other names that
/// Ansible ranks above `ansible_host`.
const VARIABLES: [&str; 31] = [
    CONNECTION,
    "ansible_host",
    "ansible_ssh_host",
    "ansible_port",
    "ansible_ssh_port",
    "ansible_user",
    "ansible_ssh_user",
    "ansible_password",
    "ansible_ssh_pass",
    "ansible_ssh_password",
    "ansible_ssh_password_mechanism",
    "ansible_sshpass_prompt",
    "ansible_private_key_file",
    "ansible_ssh_private_key_file",
    "ansible_private_key",
    "ansible_ssh_private_key",
    "ansible_private_key_passphrase",
    "ansible_ssh_private_key_passphrase",
    "ansible_ssh_pkcs11_provider",
    "ansible_ssh_args",
    "ansible_ssh_common_args",
    "ansible_ssh_extra_args",
    "ansible_sftp_extra_args",
    "ansible_scp_extra_args",
    "ansible_ssh_executable",
    "ansible_sftp_executable",
    "ansible_scp_executable",
    "ansible_control_path",
    "ansible_control_path_dir",
    "ansible_host_key_checking",
    "ansible_ssh_host_key_checking",
];
/// What an `ansible.cfg` says of the same.
pub(super) const CONFIG: [ConfigKey; 15] = [
    ("defaults", "remote_user"),
    ("defaults", "remote_port"),
    ("defaults", "private_key_file"),
    ("ssh_connection", "ssh_args"),
    ("ssh_connection", "ssh_common_args"),
    ("ssh_connection", "ssh_extra_args"),
    ("ssh_connection", "sftp_extra_args"),
    ("ssh_connection", "scp_extra_args"),
    ("ssh_connection", "ssh_executable"),
    ("ssh_connection", "sftp_executable"),
    ("ssh_connection", "scp_executable"),
    ("ssh_connection", "control_path"),
    ("ssh_connection", "control_path_dir"),
    ("ssh_connection", "pkcs11_provider"),
    ("ssh_connection", "password_mechanism"),
];
/// The directories of variables in a role.
const OF_ROLES: [&str; 4] = ["defaults", "vars", "group_vars", "host_vars"];
/// dispatcherd's own host.
const HERE: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// More of an inventory is not read.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What a playbook, its steps, its roles, its variables and its inventories say of that, with file and line.
pub(super) fn notes(directory: &Path, steps: &[YamlStep], config: &ProjectConfig) -> Vec<String> {
    let mut notes = of_steps(directory, steps);
    let mut files = named_files(directory, steps);
    for role in roles(directory, config) {
        let steps = steps::of_role(&role);
        notes.extend(of_steps(&role, &steps));
        files.extend(named_files(&role, &steps));
        files.extend(below(&role, &OF_ROLES));
    }
    let inventories = config.inventories();
    files.extend(below(directory, &["group_vars", "host_vars", "vars"]));
    // The variables beside an inventory count as well.
    let beside = |path: &PathBuf| if path.is_dir() { path.clone() } else { path.with_file_name("") };
    files.extend(inventories.iter().flat_map(|path| below(&beside(path), &["group_vars", "host_vars"])));
    for path in files.iter().filter(|path| !is_of_this_host(path)) {
        notes.extend(of_text(path, false));
    }
    for inventory in inventories {
        let texts = if inventory.is_dir() { below(&inventory, &[""]) } else { vec![inventory.clone()] };
        for path in texts.iter().filter(|path| !files.contains(*path)) {
            notes.extend(of_text(path, true));
        }
    }
    notes
}

/// Loops whose variables would say for each item how a host is reached: Ansible sets them after all others.
pub(super) fn loops(steps: &[YamlStep]) -> Vec<String> {
    let controls = steps.iter().flat_map(|step| step.keys.iter().map(move |(key, value)| (step, key, value)));
    let controls = controls.filter(|(_, key, _)| *key == "loop_control");
    let named = controls.flat_map(|(step, _, value)| {
        ["loop_var", "index_var"]
            .into_iter()
            .filter_map(move |key| Some((step, key, value.get(key)?.as_str()?)))
    });
    let wrong = named.filter(|(_, _, name)| VARIABLES.contains(name));
    let said = wrong.map(|(step, key, name)| {
        format!("{}: {key} is {name}: give the variable another name, for {LOGIN}", step.place())
    });
    said.collect()
}

fn of_steps(directory: &Path, steps: &[YamlStep]) -> Vec<String> {
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
    notes
}

fn sets(step: &YamlStep, name: &str) -> bool {
    step.keys.iter().any(|(key, value)| match key.as_str() {
        // A connection that a play or a step names is meant.
        "vars" => name != CONNECTION && value.get(name).is_some(),
        "set_fact" => value.get(name).is_some(),
        "roles" => {
            let mut roles = value.as_sequence().into_iter().flatten();
            roles.any(|role| {
                role.get(name).is_some() || role.get("vars").is_some_and(|vars| vars.get(name).is_some())
            })
        }
        _ => false,
    })
}

/// The files of variables that plays and steps name; not those whose names are made of variables.
fn named_files(directory: &Path, steps: &[YamlStep]) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for step in steps {
        let mut names = Vec::new();
        for (key, value) in &step.keys {
            match key.as_str() {
                "vars_files" => texts(value, &mut names),
                "include_vars" => ["file", "dir"]
                    .into_iter()
                    .filter_map(|key| value.get(key))
                    .chain([value])
                    .for_each(|value| texts(value, &mut names)),
                _ => {}
            }
        }
        for name in names {
            let beside = directory.join(&step.file);
            let places =
                [beside.with_file_name("vars").join(name), beside.with_file_name(name), directory.join(name)];
            let place = places.into_iter().find(|place| place.exists());
            found.extend(place.iter().filter(|place| place.is_file()).cloned());
            found.extend(place.iter().filter(|place| place.is_dir()).flat_map(|place| below(place, &[""])));
        }
    }
    found
}

fn texts<'a>(value: &'a Value, into: &mut Vec<&'a str>) {
    into.extend(value.as_str());
    value.as_sequence().into_iter().flatten().for_each(|value| texts(value, into));
}

/// The roles that lie beside the playbook, and where the project's `ansible.cfg` says.
fn roles(directory: &Path, config: &ProjectConfig) -> BTreeSet<PathBuf> {
    let mut places = vec![directory.join("roles")];
    let keys = [("defaults", "roles_path")];
    if config.says(&keys).is_some() {
        places.extend(config.paths(&keys, ("roles", &[])));
    }
    let collections = directory.join("collections/ansible_collections");
    let packed = directories(&collections).into_iter().flat_map(|of| directories(&of));
    places.extend(packed.map(|collection| collection.join("roles")));
    places.iter().flat_map(|place| directories(place)).collect()
}

fn directories(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn below(place: &Path, names: &[&str]) -> Vec<PathBuf> {
    let files = names.iter().flat_map(|name| files_below(place, Path::new(name)));
    files.map(|file| place.join(file)).collect()
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
