//! Ansible's settings, which it gets in its environment: that outranks every `ansible.cfg`.
//!
//! A task-file of a role runs under ours alone. A playbook of the operator's own runs under the `ansible.cfg` of its
//! project; of ours it has those that keep what is promised, and for the rest only what that file says nothing of.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use aegir_attempt::plan::{PlannedTask, RunnerSettings};
use aegir_role::project::{ConfigKey, ProjectConfig};

/// What holds whatever an `ansible.cfg` says: host keys, no arguments of modules (secrets are among them) in the minion's
/// syslog or in files that stay there, nothing that waits for somebody at a terminal, an inventory that is read or fails.
const ALWAYS: [(&str, &str); 10] = [
    ("ANSIBLE_HOST_KEY_CHECKING", "True"),
    ("ANSIBLE_NO_TARGET_SYSLOG", "True"),
    ("ANSIBLE_KEEP_REMOTE_FILES", "False"),
    ("ANSIBLE_TRANSPORT", "ssh"),
    ("ANSIBLE_ASK_PASS", "False"),
    ("ANSIBLE_BECOME_ASK_PASS", "False"),
    ("ANSIBLE_ASK_VAULT_PASS", "False"),
    ("ANSIBLE_INVENTORY_UNPARSED_FAILED", "True"),
    ("ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED", "True"),
    ("ANSIBLE_NOCOLOR", "1"),
];

/// What an operator's `ansible.cfg` may say otherwise, and under which keys.
const USUALLY: [(&str, &str, &[ConfigKey]); 5] = [
    ("ANSIBLE_NOCOWS", "1", &[("defaults", "nocows")]),
    ("ANSIBLE_DEPRECATION_WARNINGS", "False", &[("defaults", "deprecation_warnings")]),
    ("ANSIBLE_LOCALHOST_WARNING", "False", &[("defaults", "localhost_warning")]),
    ("ANSIBLE_TRANSFORM_INVALID_GROUP_CHARS", "ignore", &[("defaults", "force_valid_group_names")]),
    (
        "ANSIBLE_PIPELINING",
        "True",
        &[("defaults", "pipelining"), ("connection", "pipelining"), ("ssh_connection", "pipelining")],
    ),
];

/// What holds for task-files only. A minion's facts are no variables there: it could set those that a role has only a
/// default for.
const OF_ROLES: [(&str, &str); 2] =
    [("ANSIBLE_INJECT_FACT_VARS", "False"), ("ANSIBLE_INVENTORY_ENABLED", YAML)];

/// The plug-in that reads our inventory.
const YAML: &str = "ansible.builtin.yaml";

/// Where Ansible looks on every machine, beside its own home.
const MACHINE: &str = "/usr/share/ansible";

/// Where a Task finds what it runs with.
#[derive(Clone, Copy, Debug)]
pub(super) struct TaskPaths<'a> {
    pub(super) settings: &'a RunnerSettings,
    /// Our plug-ins, as they were when the attempt began.
    pub(super) plugins: &'a Path,
    pub(super) task: &'a PlannedTask,
    /// A directory that goes with the Task.
    pub(super) private: &'a Path,
}

/// What ansible-playbook has in its environment beside what every child has. `own` is the config of an operator's playbook;
/// a task-file has none.
pub(super) fn environment(
    of: TaskPaths<'_>,
    forks: usize,
    own: Option<&ProjectConfig>,
) -> BTreeMap<String, OsString> {
    let TaskPaths { settings, private, .. } = of;
    let seconds = settings.connect_timeout_seconds.max(1).to_string();
    let mut environment: BTreeMap<String, OsString> = [
        // What is printed is shown as it comes, and roles by digest stay as they were planned.
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
    ]
    .iter()
    .chain(&ALWAYS)
    .map(|&(name, value)| (name.to_owned(), value.into()))
    .collect();
    let mut set = |name: &str, value: OsString| drop(environment.insert(name.to_owned(), value));
    let unsaid = |keys: &[ConfigKey]| own.is_none_or(|own| own.says(keys).is_none());
    for (name, value, keys) in USUALLY {
        if unsaid(keys) {
            set(name, value.into());
        }
    }
    if unsaid(&[("defaults", "forks")]) {
        set("ANSIBLE_FORKS", forks.to_string().into());
    }
    if unsaid(&[("defaults", "timeout")]) {
        set("ANSIBLE_TIMEOUT", seconds.into());
    }
    match own {
        None => OF_ROLES.iter().for_each(|(name, value)| set(name, value.into())),
        Some(own) => {
            if let Some(plugins) = own.says(&[("inventory", "enable_plugins")]) {
                // Ours first: another one may take our inventory for something of its own.
                set("ANSIBLE_INVENTORY_ENABLED", format!("{YAML}, {plugins}").into());
            }
            if own.says(&[("defaults", "log_path")]).is_some() {
                // A log of Ansible's own would hold what is masked in ours.
                set("ANSIBLE_LOG_PATH", private.join(NO_LOG).into());
            }
        }
    }
    for (name, paths) in places(of, own) {
        // A path with a colon can't be told to Ansible; the first is what must be found.
        let joined = std::env::join_paths(&paths);
        let first = || paths.first().map(|path| path.clone().into_os_string());
        if let Some(value) = joined.ok().or_else(first) {
            set(name, value);
        }
    }
    environment
}

/// A link to `/dev/null`: Ansible looks whether the directory of its log can be written.
pub(super) const NO_LOG: &str = "log";

/// Where Ansible looks for roles, collections and plug-ins. What lies beside a playbook it finds by itself.
fn places(of: TaskPaths<'_>, own: Option<&ProjectConfig>) -> [(&'static str, Vec<PathBuf>); 6] {
    let TaskPaths { settings, plugins: ours, task, .. } = of;
    let content = settings.content_directory.join(&task.digest);
    let machine = |kind: &str| format!("{MACHINE}/{kind}");
    let theirs = |keys: &[ConfigKey], kind: &str, more: &[&str]| {
        let machine = machine(kind);
        let all: Vec<&str> = std::iter::once(machine.as_str()).chain(more.iter().copied()).collect();
        own.map(|own| own.paths(keys, (kind, &all))).unwrap_or_default()
    };
    let plugins = |directory: &str, key: &'static str, kind: &str| {
        let mut paths = vec![ours.join(directory)];
        paths.extend(theirs(&[("defaults", key)], kind, &[]));
        paths
    };
    let mut roles = theirs(&[("defaults", "roles_path")], "roles", &["/etc/ansible/roles"]);
    roles.push(content.clone());
    let mut collections = vec![content];
    collections.extend(theirs(
        &[("defaults", "collections_paths"), ("defaults", "collections_path")],
        "collections",
        &[],
    ));
    let others = settings.collections.iter().filter(|path| !collections.contains(path)).cloned();
    let others: Vec<_> = others.collect();
    collections.extend(others);
    [
        ("ANSIBLE_ROLES_PATH", roles),
        ("ANSIBLE_COLLECTIONS_PATH", collections),
        ("ANSIBLE_CALLBACK_PLUGINS", plugins("callback_plugins", "callback_plugins", "plugins/callback")),
        ("ANSIBLE_ACTION_PLUGINS", plugins("action_plugins", "action_plugins", "plugins/action")),
        ("ANSIBLE_VARS_PLUGINS", plugins("vars_plugins", "vars_plugins", "plugins/vars")),
        ("ANSIBLE_LIBRARY", plugins("modules", "library", "plugins/modules")),
    ]
}
