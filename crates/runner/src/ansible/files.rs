//! The playbook and the inventory of one Task.

use std::collections::BTreeMap;

use aegir_attempt::plan::PlannedTask;
use aegir_minions::{MARKER, Minion, STEP};
use aegir_protocol::id::Attempt;
use aegir_protocol::name::HostName;
use aegir_protocol::state::Reason;
use serde_json::{Map, Value, json};

use super::super::unsafe_text::{NotData, wrapped};
use super::super::work::AttemptContext;

/// The `ansible.cfg` of a task-file: Ansible would look for another one otherwise.
pub(super) const CONFIG: &str = "# All settings are in the environment.\n[defaults]\n";

/// What Ansible makes of it as each step begins: `STEP` in the callback plug-in has the same for plays of others.
const STEP_BEGINS: &str = "{{ (now().timestamp() * 1000000) | int if now is callable else 0 }}";

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
    work: &AttemptContext<'_>,
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
        let mut options = minion.options();
        if down.contains_key(&host.name) && work.operation.attempt > Attempt::FIRST {
            // Nobody has looked there for what an earlier attempt has left: it stays out of reach, even if it comes up now.
            options = out_of_reach(options);
        }
        let options: Vec<String> = options.iter().map(|option| format!("-o {}", word(option))).collect();
        let mut variables = json!({
            "ansible_host": login.address,
            "ansible_port": login.port,
            "ansible_user": login.user.as_str(),
            "ansible_python_interpreter": settings.minion_python.to_string_lossy(),
            "ansible_ssh_args": options.join(" "),
            // Said in any case: an operator's own inventory may say another one.
            "ansible_ssh_private_key_file": login.identity_file.as_ref().map(|file| file.to_string_lossy()).unwrap_or_default(),
        });
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

/// Options with which ssh reaches nobody: not over a connection of its own, and not over the one that all share, which an
/// Operation beside this one may have made meanwhile.
fn out_of_reach(options: Vec<String>) -> Vec<String> {
    // Without `ControlPersist` Ansible adds no `ControlPath` of its own.
    let others = options.into_iter().filter(|option| !option.starts_with("Control"));
    ["ControlPath=none", "ProxyCommand=false"].map(str::to_owned).into_iter().chain(others).collect()
}

/// A word as Ansible splits it again (shlex).
fn word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r#"'"'"'"#))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::process::Command;

    use super::*;
    use aegir_minions::{KnownHosts, Login};

    #[tokio::test]
    async fn a_minion_that_is_out_of_reach_is_not_reached_over_a_connection_that_stands() {
        let directory = tempfile::Builder::new().prefix("r").tempdir_in("/tmp").unwrap();
        let sshd = aegir_testkit::TestMinion::start(&directory.path().join("web1")).await.unwrap();
        let known_hosts = directory.path().join("known_hosts");
        std::fs::write(&known_hosts, sshd.known_hosts_line()).unwrap();
        let login = Login {
            name: "web1".parse().unwrap(),
            address: "127.0.0.1".to_owned(),
            port: sshd.port,
            user: sshd.user.parse().unwrap(),
            identity_file: Some(sshd.identity_file.clone()),
            known_hosts: KnownHosts::File(known_hosts),
            connect_timeout_seconds: 5,
        };
        let minion = Minion::open(login, &directory.path().join("run"), None).await.unwrap();
        assert!(minion.stands());
        let reaches = async |options: Vec<String>| {
            let mut ssh = Command::new("ssh");
            ssh.args(options.iter().flat_map(|option| ["-o", option])).arg("-p").arg(sshd.port.to_string());
            ssh.arg("-i").arg(&sshd.identity_file).args(["-l", &sshd.user, "127.0.0.1", "true"]);
            let streams = ssh.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            streams.status().await.unwrap().success()
        };
        assert!(reaches(minion.options()).await);
        assert!(!reaches(out_of_reach(minion.options())).await);
    }
}
