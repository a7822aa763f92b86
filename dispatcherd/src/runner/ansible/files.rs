//! The playbook, the inventory and the environment of one Task.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use aegir_protocol::id::Attempt;
use aegir_protocol::name::HostName;
use aegir_protocol::state::Reason;
use serde_json::{Map, Value, json};

use super::super::work::Work;
use super::variables::{NotData, wrapped};
use crate::minions::{MARKER, Minion, STEP};
use crate::plan::{PlannedTask, Settings};

/// What is the same for every Task. Paths are in the environment, where nothing in them has a meaning. Modules do
/// not log to the minion's syslog: they would log their arguments, secrets included.
pub(super) const CONFIG: &str = "\
[defaults]
host_key_checking = True
retry_files_enabled = False
nocows = True
nocolor = True
deprecation_warnings = False
localhost_warning = False
inject_facts_as_vars = False
no_target_syslog = True
force_valid_group_names = ignore
enable_plugins = ansible.builtin.yaml
[inventory]
enable_plugins = ansible.builtin.yaml
unparsed_is_failed = True
[connection]
pipelining = True
[ssh_connection]
pipelining = True
";

/// What Ansible makes of it as each step begins: `STEP` in the callback plug-in has the same for plays of others.
const STEP_BEGINS: &str = "{{ (now().timestamp() * 1000000) | int }}";

/// One play on the Task's minions. The role is imported, not included, so that what does not parse fails
/// before anything has run.
pub(super) fn playbook(task: &PlannedTask, file: &str, marker: &str) -> String {
    let name = format!("{}: {}", task.role, task.name);
    let role = match &task.collection {
        Some(collection) => format!("{collection}.{}", task.role),
        None => task.role.to_string(),
    };
    json!([{
        "name": name,
        "hosts": "task",
        "gather_facts": false,
        "environment": { MARKER: marker, STEP: STEP_BEGINS },
        "tasks": [{ "name": name, "import_role": { "name": role, "tasks_from": file } }],
    }])
    .to_string()
}

/// The Task's minions in the group `task`, and in a group `service_NAME` for each service that they offer.
/// Names and addresses are checked by their types; a host's own variables are wrapped, as all that comes from the frontend.
///
/// # Errors
/// When a value is none that Ansible takes for data.
pub(super) fn inventory(
    work: &Work<'_>,
    task: &PlannedTask,
    minions: &BTreeMap<HostName, Minion>,
    down: &BTreeMap<HostName, Reason>,
) -> Result<String, NotData> {
    let settings = &work.plan.settings;
    let mut hosts = Map::new();
    let mut groups: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for host in work.hosts(task) {
        let Some(minion) = minions.get(&host.name) else { continue };
        let login = minion.login();
        let mut options: Vec<String> =
            minion.options().iter().map(|option| format!("-o {}", word(option))).collect();
        if down.contains_key(&host.name) && work.operation.attempt > Attempt::FIRST {
            // Nobody has looked there for what an earlier attempt has left: it stays out of reach, even if it comes up now.
            options.push("-o ProxyCommand=false".to_owned());
        }
        let mut variables = json!({
            "ansible_connection": "ssh",
            "ansible_host": login.address,
            "ansible_port": login.port,
            "ansible_user": login.user.as_str(),
            "ansible_python_interpreter": settings.minion_python.to_string_lossy(),
            "ansible_ssh_args": options.join(" "),
        });
        if let (Some(file), Some(object)) = (&login.identity_file, variables.as_object_mut()) {
            object.insert("ansible_ssh_private_key_file".to_owned(), json!(file.to_string_lossy()));
        }
        if host.becomes_root {
            variables["ansible_become"] = json!(true);
        }
        for (name, resolved) in task.of_hosts.get(&host.name).into_iter().flatten() {
            let value = wrapped(&resolved.value)?;
            for name in task.names_of(name) {
                variables[name] = value.clone();
            }
        }
        hosts.insert(host.name.to_string(), variables);
        let names = host.services.keys().map(|service| format!("service_{service}"));
        for group in names.chain(["task".to_owned()]) {
            groups.entry(group).or_default().insert(host.name.to_string(), json!({}));
        }
    }
    let children: Map<String, Value> =
        groups.into_iter().map(|(name, hosts)| (name, json!({ "hosts": hosts }))).collect();
    Ok(json!({ "all": { "hosts": hosts, "children": children } }).to_string())
}

/// A word as Ansible splits it again (shlex).
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

/// What ansible-playbook has in its environment beside what every child has.
pub(super) fn environment(
    settings: &Settings,
    plugins: &Path,
    task: &PlannedTask,
    forks: usize,
) -> BTreeMap<String, OsString> {
    let content = settings.content_directory.join(&task.digest);
    let collections = std::iter::once(&content).chain(&settings.collections);
    // Paths of the config can't have a colon then; Ansible could not be told of them.
    let collections = std::env::join_paths(collections).unwrap_or_else(|_| content.clone().into_os_string());
    let plugins = |kind: &str| plugins.join(kind).into_os_string();
    let seconds = settings.connect_timeout_seconds.max(1).to_string();
    [
        ("ANSIBLE_ROLES_PATH", content.into_os_string()),
        ("ANSIBLE_COLLECTIONS_PATH", collections),
        ("ANSIBLE_CALLBACK_PLUGINS", plugins("callback_plugins")),
        ("ANSIBLE_ACTION_PLUGINS", plugins("action_plugins")),
        ("ANSIBLE_LIBRARY", plugins("modules")),
        ("ANSIBLE_FORKS", forks.to_string().into()),
        ("ANSIBLE_TIMEOUT", seconds.into()),
        ("ANSIBLE_NOCOLOR", "1".into()),
        // What is printed is shown as it comes, and roles by digest stay as they were planned.
        ("PYTHONUNBUFFERED", "1".into()),
        ("PYTHONDONTWRITEBYTECODE", "1".into()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
