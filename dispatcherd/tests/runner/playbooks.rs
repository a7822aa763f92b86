//! Playbooks of the operator's own: what runs with plain ansible-playbook runs here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use aegir_attempt::plan::TaskAction;
use aegir_protocol::record::Stream;
use aegir_protocol::state::Outcome;

use crate::ansible::one;

/// `opened by its id`, for the vault id `prod`.
const VAULTED: &str = "\
$ANSIBLE_VAULT;1.2;AES256;prod\n\
38316565366532633734663865333132613932316261373233333136323666353965613865386134\n\
3036343139626438326333393033376631303434383733350a363638633762303834626235623665\n\
36363030633832326439356562383737346333636665396435343737353431336663396161653064\n\
3163323636393530330a376636316661353633393062343631633864386234646463323437356532\n\
36326233376239396563623163363835333231396230306463393665316132306333";
const PASSWORD: &str = "the vault password of prod";

fn write(root: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

const SITE: &str = r#"
- name: Web servers
  hosts: webservers
  environment: {OWN_WORD: kept}
  roles: [near, far, our.tools.packed]
  tasks:
    - name: Say
      ansible.builtin.debug:
        msg: "{{ ansible_os_family == ansible_facts['os_family'] }} {{ of_group }} {{ of_host }} {{ of_inventory }} {{ vaulted | length }} {{ groups['all'] | sort | join(',') }}"
    - name: A variable of this name
      ansible.builtin.set_fact: {now: today}
    - name: Marked
      ansible.builtin.command: printenv AEGIR_ATTEMPT OWN_WORD SSH_CONNECTION
      changed_when: false
    - name: Add
      ansible.builtin.add_host: {name: web3, groups: [task, added], ansible_connection: local}
- name: Beside dispatcherd
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Local
      ansible.builtin.debug: {msg: "{{ groups['webservers'] | length }}"}
- name: A group of dispatcherd's own host
  hosts: here
  gather_facts: false
  tasks:
    - name: Here
      ansible.builtin.debug: {msg: "web1 is at {{ hostvars['web1'].ansible_host }}"}
- name: All
  hosts: all
  gather_facts: false
  vars: {ansible_ssh_port: 1, ansible_password: none}
  vars_files: [over.yml]
  tasks:
    - name: Each
      ansible.builtin.command: printenv SSH_CONNECTION
      changed_when: false
- name: Over the connection that the play names
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Connection
      ansible.builtin.command: /bin/sh -c 'test -z "$SSH_CONNECTION"'
      changed_when: false
- name: Over the connection that its variables name, as an inventory does
  hosts: "{{ groups['all'] }}"
  vars: {ansible_connection: local}
  gather_facts: false
  tasks:
    - name: Variable
      ansible.builtin.command: /bin/sh -c 'test -z "$SSH_CONNECTION"'
      changed_when: false
- name: What a template makes of a group
  hosts: "{{ groups['webservers'] | join(',') }}"
  gather_facts: false
  tasks:
    - name: Joined
      ansible.builtin.command: printenv SSH_CONNECTION
      changed_when: false
- name: A host that a step has added
  hosts: added
  gather_facts: false
  tasks:
    - name: Added
      ansible.builtin.ping:
"#;

/// Nothing of this leads anywhere else than the Operation's host entry.
const INVENTORY: &str = "\
localhost ansible_connection=local
[here]
localhost
[webservers]
web1 of_inventory=i ansible_host=192.0.2.1 ansible_connection=local
web2
localhost
[webservers:vars]
ansible_ssh_common_args=-o ProxyCommand=false
";

const CONFIG: &str = "
[defaults]
roles_path = ./far_roles
inventory = hosts.ini
callback_plugins = ./callbacks
log_path = ./ansible.log
host_key_checking = False
keep_remote_files = True
ask_vault_pass = True
[inventory]
enable_plugins = ini
[ssh_connection]
ssh_args = -o NoSuchOption=yes
ssh_common_args = -o NoSuchOption=yes
ssh_extra_args = -o NoSuchOption=yes
sftp_extra_args = -o NoSuchOption=yes
scp_extra_args = -o NoSuchOption=yes
ssh_executable = /bin/false
sftp_executable = /bin/false
scp_executable = /bin/false
pipelining = False
";

#[tokio::test]
async fn a_playbook_that_runs_bare_runs_here() {
    let (mut case, _minion) = one().await;
    let root = case.path("roots");
    let debug = |name: &str| format!("- name: {name}\n  ansible.builtin.debug: {{msg: {name}}}\n");
    let vaulted = format!("vaulted: !vault |\n  {}\n", VAULTED.replace('\n', "\n  "));
    write(
        &root,
        &[
            ("project/ansible.cfg", CONFIG),
            ("project/hosts.ini", INVENTORY),
            ("project/group_vars/webservers.yml", "of_group: g\n"),
            ("project/host_vars/web1.yml", "of_host: h\nansible_host: 192.0.2.2\nansible_user: nobody\n"),
            ("project/plays/group_vars/all.yml", &vaulted),
            ("project/plays/host_vars/web1.yml", "ansible_port: 1\nansible_ssh_host: 192.0.2.3\n"),
            ("project/plays/site.yml", SITE),
            ("project/plays/roles/near/tasks/main.yml", &debug("near")),
            ("project/plays/roles/near/defaults/main.yml", "ansible_connection: local\n"),
            ("project/plays/over.yml", "ansible_connection: local\n"),
            ("project/far_roles/far/vars/main.yml", "ansible_connection: local\nansible_ssh_pass: none\n"),
            ("project/far_roles/far/tasks/main.yml", &debug("far")),
            (
                "project/plays/collections/ansible_collections/our/tools/roles/packed/tasks/main.yml",
                &debug("packed"),
            ),
            (
                "project/callbacks/theirs.py",
                "from ansible.plugins.callback import CallbackBase\n\n\nclass CallbackModule(CallbackBase):\n\
                 \x20   CALLBACK_VERSION = 2.0\n    CALLBACK_TYPE = 'notification'\n    CALLBACK_NAME = 'theirs'\n\n\
                 \x20   def v2_playbook_on_start(self, playbook):\n        self._display.display('their callback')\n",
            ),
        ],
    );
    let password = case.path("prod");
    fs::write(&password, PASSWORD).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    case.plan.settings.vault_passwords.insert("prod".to_owned(), password);
    let playbook = root.canonicalize().unwrap().join("project/plays/site.yml");
    let ended = case.task("site", TaskAction::Playbook(playbook), &[]).run().expect("succeeded", "completed");
    let said = |step: &str| ended.step(step).message.clone().unwrap_or_default();
    assert_eq!(said("Say"), "True g h i 16 localhost,web1,web2");
    assert_eq!([said("near"), said("far"), said("packed")], ["near", "far", "packed"]);
    assert_eq!([said("Local"), said("Here")], ["3", "web1 is at 127.0.0.1"]);
    // The other hosts of the inventory are none of the Task's, and `all` is not dispatcherd's own host.
    for (step, times) in
        [("Say", 1), ("Each", 1), ("Connection", 1), ("Variable", 1), ("Joined", 1), ("Added", 0)]
    {
        assert_eq!(ended.steps().into_iter().filter(|other| other.name == step).count(), times, "{step}");
    }
    assert!(ended.text(Stream::Stdout).contains("their callback"));
    assert!(!ended.transcript().contains(PASSWORD));
    assert!(!root.join("project/ansible.log").exists());
}

#[tokio::test]
async fn a_playbook_without_an_inventory_stays_with_the_operations_hosts() {
    let (case, _minion) = one().await;
    let root = case.path("roots");
    let site = "
- hosts: task
  gather_facts: false
  tasks:
    - name: Add
      ansible.builtin.add_host: {name: web9, groups: [task], ansible_connection: local}
- hosts: all
  gather_facts: false
  tasks:
    - name: Each
      ansible.builtin.command: printenv SSH_CONNECTION
      changed_when: false
    - name: In a loop
      ansible.builtin.command: printenv SSH_CONNECTION
      loop: [192.0.2.1]
      loop_control: {loop_var: ansible_host}
";
    write(&root, &[("site.yml", site)]);
    let playbook = root.canonicalize().unwrap().join("site.yml");
    let ended = case.task("site", TaskAction::Playbook(playbook), &[]).run();
    assert_eq!(ended.finished().outcome, Outcome::Failed, "{}", ended.transcript());
    assert_eq!(ended.steps().into_iter().filter(|step| step.name == "Each").count(), 1);
    assert!(
        ended.text(Stream::Stderr).contains("ansible_host is no name for the variable of a loop"),
        "{}",
        ended.transcript()
    );
}

#[tokio::test]
async fn an_inventory_that_can_not_be_read_fails_the_task() {
    let (case, _minion) = one().await;
    let root = case.path("roots");
    let play = "- hosts: webservers\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n";
    let site = format!("{play}{}", play.replace("webservers", "all"));
    write(
        &root,
        &[
            ("project/ansible.cfg", "[defaults]\ninventory = hosts.yml\n"),
            ("project/hosts.yml", "webservers: [nonsense\n"),
            ("project/site.yml", &site),
        ],
    );
    let playbook = root.canonicalize().unwrap().join("project/site.yml");
    let ended = case.task("site", TaskAction::Playbook(playbook), &[]).run();
    assert_eq!(ended.finished().outcome, Outcome::Failed, "{}", ended.transcript());
    assert!(ended.text(Stream::Stderr).contains("hosts.yml"), "{}", ended.transcript());
}

#[tokio::test]
async fn a_vault_password_that_others_can_read_is_refused() {
    let (mut case, _minion) = one().await;
    let password = case.path("prod");
    fs::write(&password, PASSWORD).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o644)).unwrap();
    case.plan.settings.vault_passwords.insert("prod".to_owned(), password);
    let ended = case.task_file("any", "- ansible.builtin.ping:\n", &[]).run();
    let ended = ended.expect("failed", "runner_failed");
    assert!(ended.reason().contains("vault_passwords.prod: "), "{}", ended.reason());
}
