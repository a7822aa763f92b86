use aegir_catalog::manifest::Manifest;
use std::collections::BTreeSet;

use super::*;

const MANIFEST: &str = "
schema: aegir.role/0
title: T
targets: [site]
operations: {run: {title: Run, tasks: [dump, load]}}
tasks:
  dump: {variables: [name, password], outputs: {token: {type: string, secret: true}}}
  load: {variables: [name, password]}
variables:
  name: {type: string, scope: site}
  password: {type: string, scope: site, secret: true}
";

fn report(files: &[(&str, &str)]) -> RoleFindings {
    let role = tempfile::tempdir().unwrap();
    for (file, text) in files {
        let path = role.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let manifest = yaml_serde::from_str(MANIFEST).unwrap();
    let uses = BTreeSet::from(["base".parse().unwrap()]);
    let subject =
        InspectedRole { name: &"shop".parse().unwrap(), path: role.path(), manifest: &manifest, uses: &uses };
    inspect(subject, &[role.path().join("content")])
}

#[track_caller]
fn wrong(files: &[(&str, &str)], expected: &[&str]) {
    let RoleFindings { problems, notes } = report(files);
    assert_eq!(notes, Vec::<String>::new(), "Ansible is needed for this test");
    let begin =
        |problem: &String, part: &&str| problem.starts_with(part.split('…').next().unwrap_or_default());
    assert!(
        problems.len() == expected.len() && problems.iter().zip(expected).all(|(a, b)| begin(a, b)),
        "{problems:#?}\nis not\n{expected:#?}"
    );
}

#[test]
fn jinja_that_does_not_parse_is_said_with_its_place() {
    let tasks = r#"
- name: Text
  ansible.builtin.debug: {msg: "{{ shop_name | default('x' }}"}
- name: Condition
  ansible.builtin.ping:
  when: [shop_name is defined, "shop_name =="]
- block:
    - name: Claim
      ansible.builtin.assert: {that: ["shop_name | length >"], fail_msg: "{{ shop_name }}"}
      register: x
      until: x is succeeded or
  rescue:
    - ansible.builtin.debug: {var: "shop_name["}
- name: Format of another program
  ansible.builtin.command: docker ps --format '{{.Names}}'
- name: End
  ansible.builtin.shell: |
    {% if shop_name %}
    echo
"#;
    wrong(
        &[
            ("tasks/dump.yml", tasks),
            ("tasks/unreached.yml", "- ansible.builtin.debug: {msg: '{{ x'}\n"),
            ("handlers/main.yml", "- name: Again\n  ansible.builtin.command: 'echo {{ }}'\n"),
            ("vars/main.yml", "shop__list: ['{{ a b }}']\n"),
            ("templates/sub/page.j2", "one\n{% for x in y %}\n"),
        ],
        &[
            "tasks/dump.yml: \"Text\": debug.msg: this is no Jinja: …",
            "tasks/dump.yml: \"Condition\": when: this is no Jinja: …",
            "tasks/dump.yml: \"Claim\": assert.that: this is no Jinja: …",
            "tasks/dump.yml: \"Claim\": until: this is no Jinja: …",
            "tasks/dump.yml: a step with debug: debug.var: this is no Jinja: …",
            "tasks/dump.yml: \"Format of another program\": command: this is no Jinja: …",
            "tasks/dump.yml: \"End\": shell: this is no Jinja: …",
            "tasks/unreached.yml: a step with debug: debug.msg: this is no Jinja: …",
            "handlers/main.yml: \"Again\": command: this is no Jinja: …",
            "vars/main.yml: shop__list: this is no Jinja: …",
            "templates/sub/page.j2:2: this is no Jinja: …",
        ],
    );
}

#[test]
fn jinja_that_parses_is_fine() {
    let tasks = r#"
- name: "{{ shop_name }}"
  ansible.builtin.debug: {msg: "{{ x | a_filter_of_nobody_here is a_test(1) }} {% raw %}{{ {% endraw %} { } %"}
  when: "'{{ shop_name }}' == 'x'"
  vars: {when: "no expression, is it?", var: a text}
- ansible.builtin.debug: {msg: !unsafe "{{ x", when: }
  changed_when: false
- ansible.builtin.template: {src: other.conf, dest: /x, variable_start_string: "[%", variable_end_string: "%]"}
- ansible.builtin.command: {argv: [echo, "{{ x }}"]}
  loop: "{{ query('list', [1]) }}"
  until: true
"#;
    wrong(
        &[
            ("tasks/dump.yml", tasks),
            ("templates/other.conf", "[% x %] {{ {\n"),
            (
                "templates/header.j2",
                "#jinja2: variable_start_string:'<<', variable_end_string:'>>'\n<< x >> {{ }\n",
            ),
            (
                "templates/loop.j2",
                "{% for a in b %}{% if a %}{% continue %}{% endif %}{% do c.append(a) %}{% endfor %}",
            ),
            ("templates/no_template.txt", "{{ }"),
            ("files/a.j2", "{{ }"),
        ],
        &[],
    );
}

#[test]
fn a_role_that_an_attempt_does_not_have_is_said() {
    let tasks = r#"
- ansible.builtin.import_role: {name: base, tasks_from: a}
- ansible.builtin.include_role: {name: shop, tasks_from: load}
- ansible.builtin.import_role: {name: our.tools.packed}
- ansible.builtin.include_role: {name: "{{ shop_name }}"}
- ansible.builtin.include_role: {name: shop, tasks_from: none, vars_from: nothing.yml}
- name: Near
  import_role: name=near tasks_from=x
- name: Far
  when: shop_name is defined
  block:
    - ansible.builtin.include_role: {name: geerlingguy.ntp}
"#;
    wrong(
        &[
            ("tasks/dump.yml", tasks),
            ("tasks/load.yml", "[]"),
            ("meta/main.yml", "dependencies: [base, {role: lost}, {src: x, name: gone}]\n"),
        ],
        &[
            "tasks/dump.yml: a step with include_role: include_role names tasks/none, which is not there",
            "tasks/dump.yml: a step with include_role: include_role names vars/nothing.yml, which is not there",
            "tasks/dump.yml: \"Near\": import_role names the role near, which an attempt does not have…",
            "tasks/dump.yml: a step with include_role: include_role names the role geerlingguy.ntp, which…",
            "meta/main.yml: a dependency names the role lost, …",
            "meta/main.yml: a dependency names the role gone, …",
        ],
    );
}

#[test]
fn a_secret_in_a_command_line_is_said() {
    let tasks = r#"
- name: Straight
  ansible.builtin.command: /bin/true
  environment: {PASSWORD: "{{ shop_password }}", NAME: "{{ shop_name }}"}
- name: Made of it
  ansible.builtin.command: /bin/true
  environment: "{{ shop__environment }}"
- block:
    - ansible.builtin.set_fact: {shop_local: "{{ shop__dsn ~ 'x' }}"}
    - name: Of another role's name
      ansible.builtin.command: {argv: [login, "{{ base_password }}"]}
    - name: Looped
      ansible.builtin.shell: "echo {{ entry }}"
      loop: ["{{ aegir.outputs.dump.token }}"]
      loop_control: {loop_var: entry}
  environment:
    - LOCAL: "{{ shop_local }}"
- name: As it should be
  ansible.builtin.command: {cmd: "login {{ shop_name }}", stdin: "{{ shop_password }}"}
  environment: {THERE: "{{ shop_password is defined }}", NOT: "{{ 'shop_password' }}"}
- ansible.builtin.copy: {content: "{{ shop_password }}", dest: /x, mode: "0600"}
- ansible.builtin.command: /bin/true
  when: shop_password != 'x'
"#;
    let vars = "shop__environment: {DSN: '{{ shop__dsn }}'}\nshop__dsn: 'mysql://{{ shop_password }}@x'\n";
    wrong(
        &[("tasks/dump.yml", tasks), ("vars/main.yml", vars)],
        &[
            "tasks/dump.yml: \"Straight\": environment holds the secret shop_password, and Ansible puts…",
            "tasks/dump.yml: \"Made of it\": environment holds the secret shop__environment, and…",
            "tasks/dump.yml: a step with environment: environment holds the secret shop_local, and…",
            "tasks/dump.yml: \"Of another role's name\": command has the secret base_password in its command line…",
            "tasks/dump.yml: \"Looped\": shell has the secret entry in its command line…",
        ],
    );
}

#[test]
fn a_fact_is_no_variable() {
    let tasks = "- ansible.builtin.debug: {msg: '{{ ansible_os_family }} {{ ansible_host }} {{ ansible_facts.os_family }}'}\n  \
                 when: ansible_distribution == 'Debian'\n";
    wrong(
        &[("tasks/dump.yml", tasks), ("templates/a.j2", "{{ ansible_default_ipv4.address }}")],
        &[
            "tasks/dump.yml: a step with debug: ansible_distribution is no variable in a role's task-files: write \
             ansible_facts.distribution…",
            "tasks/dump.yml: a step with debug: ansible_os_family is no variable…",
            "templates/a.j2: ansible_default_ipv4 is no variable…",
        ],
    );
}

#[test]
fn where_there_is_no_jinja_that_is_said() {
    let template = jinja::Template::new("x", "{{ }", "text");
    let said = jinja::asked(&[template], &[PathBuf::from("/nowhere/python3"), PathBuf::from("/bin/false")]);
    assert!(said.unwrap_err().to_string().contains("its Jinja was not checked"));
}

#[test]
fn a_playbook_is_looked_at_with_its_ansible_cfg() {
    let root = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let play = r#"
- name: Play
  hosts: all
  remote_user: deploy
  environment: {PASSWORD: "{{ shop_password }}"}
  tasks:
    - ansible.builtin.include_tasks: more.yml
    - ansible.builtin.debug: {msg: "{{ ansible_os_family }} {{ lookup('env', 'X') }}"}
"#;
    write("ops/plays/site.yml", play);
    write("ops/plays/more.yml", "- name: More\n  ansible.builtin.ping:\n  when: x ==\n");
    write(
        "ops/ansible.cfg",
        "[defaults]\nhost_key_checking = False\nno_target_syslog=yes\nlog_path=x\nforks=3\n[ssh_connection]\n\
         ssh_common_args = -J jump\nssh_executable = ./my\n",
    );
    let manifest = MANIFEST.replace("load: {", "load: {ansible: {playbook: ops/plays/site.yml}, ");
    let manifest: Manifest = yaml_serde::from_str(&manifest).unwrap();
    let (name, uses) = ("shop".parse().unwrap(), BTreeSet::new());
    let subject =
        InspectedRole { name: &name, path: &root.path().join("none"), manifest: &manifest, uses: &uses };
    let begin = |said: &[String], expected: &[&str]| {
        let same = said.iter().zip(expected).all(|(said, part)| said.contains(part));
        assert!(said.len() == expected.len() && same, "{said:#?}\nis not\n{expected:#?}");
    };
    let RoleFindings { problems, notes } = inspect(subject, &[root.path().to_owned()]);
    begin(
        &problems,
        &[
            "ops/plays/more.yml: \"More\": when: this is no Jinja: ",
            "ops/plays/site.yml: \"Play\": environment holds the secret shop_password",
        ],
    );
    begin(
        &notes,
        &[
            "site.yml: \"Play\": remote_user does not count here",
            "site.yml: a step with debug: lookup('env') finds nothing",
            "ops/ansible.cfg: host_key_checking = False does not count here: host keys are always checked",
            "ops/ansible.cfg: log_path = x does not count here",
            "ops/ansible.cfg: ssh_common_args = -J jump does not count here: the Operation's host entry",
            "ops/ansible.cfg: ssh_executable = ./my does not count here: the Operation's host entry",
        ],
    );
    write(
        "ops/plays/site.yml",
        "- name: Play\n  hosts: all\n  vars: {ansible_user: root, ansible_connection: local}\n  tasks:\n    - ansible.builtin.debug: {msg: 'ansible_host: x'}\n      \
         when: ansible_host == 'x'\n    - name: Else\n      ansible.builtin.ping:\n      vars:\n        ansible_port: 23\n",
    );
    write("ops/ansible.cfg", "[defaults]\ninventory = hosts.ini, hosts.yml, hosts\n");
    write(
        "ops/hosts.ini",
        "# ansible_host=no\nlocalhost ansible_connection=local\nweb1 ansible_host=192.0.2.1 my_ansible_port=1\n[all:vars]\n\
         ansible_ssh_common_args = -J jump\n",
    );
    write(
        "ops/hosts.yml",
        "all:\n  hosts:\n    localhost:\n      ansible_connection: local\n    db1:\n      ansible_connection: community.docker.docker\n",
    );
    write("ops/hosts/more.json", "{\"all\": {\"vars\": {\"ansible_ssh_host\": \"x\"}}}\n");
    write("ops/plays/host_vars/localhost.yml", "ansible_connection: local\n");
    write(
        "ops/host_vars/web1/main.yml",
        "---\nansible_port: 2222\nansible_become: true\nansible_python_interpreter: x\n",
    );
    let RoleFindings { problems, notes } = inspect(subject, &[root.path().to_owned()]);
    begin(&problems, &[]);
    begin(
        &notes,
        &[
            "ops/plays/site.yml:3: ansible_user does not count here for the Operation's hosts: the Operation's host entry and",
            "ops/plays/site.yml:10: ansible_port does not count",
            "ops/host_vars/web1/main.yml:2: ansible_port does not count",
            "ops/hosts.ini:2: `hosts: all` does not mean this inventory's localhost",
            "ops/hosts.ini:3: ansible_host does not count",
            "ops/hosts.ini:5: ansible_ssh_common_args does not count",
            "ops/hosts.yml:3: `hosts: all` does not mean this inventory's localhost",
            "ops/hosts.yml:6: ansible_connection does not count",
            "ops/hosts/more.json:1: ansible_ssh_host does not count",
        ],
    );
    let loops = "- ansible.builtin.ping:\n  loop: [a]\n  loop_control: {loop_var: ansible_host, index_var: ansible_ssh_user}\n";
    write(
        "ops/plays/site.yml",
        "- name: Play\n  hosts: all\n  vars_files: [over.yml]\n  roles: [near, {role: far, vars: {ansible_connection: local}}]\n  tasks:\n\
         \x20   - ansible.builtin.include_vars: more.yml\n    - ansible.builtin.set_fact: {ansible_user: x}\n\
         \x20   - ansible.builtin.import_tasks: loops.yml\n",
    );
    write("ops/plays/loops.yml", loops);
    write("ops/plays/over.yml", "ansible_connection: local\n");
    write("ops/plays/vars/more.yml", "x: 1\nansible_ssh_pass: x\n");
    write("ops/plays/roles/near/defaults/main.yml", "ansible_connection: local\n");
    write(
        "ops/plays/roles/near/tasks/main.yml",
        "- ansible.builtin.ping:\n  vars: {ansible_port: 1, ansible_connection: x}\n",
    );
    write("ops/far/far/vars/main.yml", "ansible_private_key: x\n");
    write("ops/ansible.cfg", "[defaults]\nroles_path = far\n");
    let RoleFindings { problems, notes } = inspect(subject, &[root.path().to_owned()]);
    begin(
        &problems,
        &[
            "ops/plays/loops.yml: a step with ping: loop_var is ansible_host: give the variable another name",
            "ops/plays/loops.yml: a step with ping: index_var is ansible_ssh_user: give the variable another name",
        ],
    );
    begin(
        &notes,
        &[
            "ops/plays/site.yml:4: ansible_connection does not count",
            "ops/plays/site.yml:7: ansible_user does not count",
            "ops/plays/roles/near/tasks/main.yml:2: ansible_port does not count",
            "ops/far/far/vars/main.yml:1: ansible_private_key does not count",
            "ops/plays/over.yml:1: ansible_connection does not count",
            "ops/plays/roles/near/defaults/main.yml:1: ansible_connection does not count",
            "ops/plays/vars/more.yml:2: ansible_ssh_pass does not count",
        ],
    );
    let without = inspect(subject, &[]);
    begin(&without.problems, &[]);
    begin(
        &without.notes,
        &["tasks.load: the playbook ops/plays/site.yml was not looked at: name its content root"],
    );
}
