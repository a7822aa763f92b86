//! Tasks of the `ansible` runner: the real ansible-playbook, over real sshds.

use std::path::Path;

use aegir_attempt::plan::TaskAction;
use aegir_protocol::record::{Record, Remains, StepStatus, Stream};
use aegir_testkit::TestMinion;
use serde_json::json;

use crate::case::{Case, runs, unique_seconds};

pub(crate) async fn one() -> (Case, TestMinion) {
    let case = Case::new();
    let minion = TestMinion::start(&case.path("web1")).await.unwrap();
    (case.minion("web1", &minion), minion)
}

/// What the frontend must not get evaluated.
const TEMPLATE: &str = "{{ lookup('pipe','id') }} {% raw %} ${HOME} $(id)";

#[tokio::test]
async fn values_arrive_as_those_very_characters() {
    let (case, _minion) = one().await;
    let (file, hash) = (case.path("file"), case.path("hash"));
    let tasks = format!(
        r#"
- name: Write a value
  ansible.builtin.copy:
    content: "{{{{ example_text }}}}"
    dest: {}
    mode: "0600"
- name: Write what is inside one
  ansible.builtin.copy:
    content: "{{{{ example_deep.list[0].a }}}} {{{{ aegir.target.name }}}} {{{{ aegir.attempt }}}} {{{{ example_rack }}}}"
    dest: {}
    mode: "0600"
"#,
        file.display(),
        hash.display()
    );
    let variables =
        [("text", json!(TEMPLATE)), ("deep", json!({ "list": [{ "a": TEMPLATE, "{{ key }}": 1 }] }))];
    let mut case = case.task_file("write", &tasks, &variables);
    let rack = json!({"web1": {"rack": {"value": TEMPLATE, "from": "hosts.web1"}}});
    case.plan.tasks[0].of_hosts = serde_json::from_value(rack).unwrap();
    let ended = case.run().expect("succeeded", "completed");
    assert_eq!(std::fs::read_to_string(file).unwrap(), TEMPLATE);
    assert_eq!(std::fs::read_to_string(hash).unwrap(), format!("{TEMPLATE} example.test 1 {TEMPLATE}"));
    let step = ended.step("Write a value");
    assert_eq!(
        (step.status, &*step.action, &*step.host),
        (StepStatus::Changed, "ansible.builtin.copy", "web1")
    );
    assert!(step.diff.is_none());
    assert!(ended.text(Stream::Stdout).contains("PLAY RECAP"));
}

#[tokio::test]
async fn a_task_file_imports_that_of_a_role_which_it_builds_on() {
    let (case, _minion) = one().await;
    let base = case.path("content/d1/base/tasks");
    std::fs::create_dir_all(&base).unwrap();
    let write = "- name: Write\n  ansible.builtin.copy: {content: '{{ base_text }}', dest: '{{ base_file }}', mode: '0600'}\n";
    std::fs::write(base.join("write.yml"), write).unwrap();
    let import = "- ansible.builtin.import_role: {name: base, tasks_from: write.yml}\n";
    let file = case.path("file");
    let variables = [("text", json!(TEMPLATE)), ("file", json!(file)), ("own", json!("x"))];
    let mut case = case.task_file("write", import, &variables);
    let names = ["text", "file"].map(|name| name.parse().unwrap()).to_vec();
    case.plan.tasks[0].uses = [("base".parse().unwrap(), names)].into();
    let _ended = case.run().expect("succeeded", "completed");
    assert_eq!(std::fs::read_to_string(file).unwrap(), TEMPLATE);
}

/// From 2.19 on, Ansible itself refuses a module's output that is not UTF-8.
fn says_what_was_wrong(message: &str) -> bool {
    message.contains("it h") || message.contains("invalid UTF8")
}

#[tokio::test]
async fn a_failed_step_is_the_reason() {
    let (case, _minion) = one().await;
    let tasks = r"
- name: Go wrong where that is allowed
  ansible.builtin.command: /bin/false
  ignore_errors: true
- name: Skip
  ansible.builtin.command: /bin/false
  when: false
- name: Loop
  ansible.builtin.command: echo {{ item }}
  loop: [a, b]
  changed_when: false
- name: Go wrong
  ansible.builtin.shell: printf 'it h\351rts' >&2; exit 3
";
    let ended = case.task_file("fail", tasks, &[]).run().expect("failed", "task_failed");
    assert!(
        ended.reason().contains("web1: Go wrong: ") && says_what_was_wrong(ended.reason()),
        "{}",
        ended.reason()
    );
    assert_eq!(ended.step("Go wrong where that is allowed").status, StepStatus::Ignored);
    assert_eq!(ended.step("Skip").status, StepStatus::Skipped);
    assert_eq!(ended.step("Loop").status, StepStatus::Ok);
    let items: Vec<_> = ended.steps().iter().filter_map(|step| step.item.clone()).collect();
    assert_eq!(items, ["a", "b"]);
    let message = ended.step("Go wrong").message.clone().unwrap();
    assert!(says_what_was_wrong(&message), "{message}");
    assert_eq!(ended.exit().code, Some(2));
    // Every step stands before the end of the Task.
    let end = ended.records.iter().position(|record| matches!(record, Record::TaskFinished(_))).unwrap();
    assert!(ended.records[end..].iter().all(|record| !matches!(record, Record::Step(_) | Record::Output(_))));
}

#[tokio::test]
async fn a_role_can_name_its_reason() {
    let (case, _minion) = one().await;
    let tasks = "- ansible.builtin.fail: {msg: 'source_not_allowed: /etc is outside'}\n";
    let ended = case.task_file("refuse", tasks, &[]).run().expect("failed", "source_not_allowed");
    assert!(ended.reason().contains("/etc is outside"), "{}", ended.reason());
}

#[tokio::test]
async fn a_secret_reaches_the_minion_and_no_record() {
    let (case, _minion) = one().await;
    let file = case.path("file");
    let sealed = case.seal("correct horse");
    let tasks = format!(
        r#"
- name: Write it
  ansible.builtin.copy:
    content: "{{{{ example_password }}}}"
    dest: {0}
    mode: "0600"
- name: Show it
  ansible.builtin.debug:
    msg: "it is {{{{ example_password }}}}"
- name: Hide it
  ansible.builtin.shell: echo hidden-$((40 + 2))
  no_log: true
- name: Fail with it
  ansible.builtin.shell: cat {0} >&2; exit 1
"#,
        file.display()
    );
    let ended =
        case.task_file("secret", &tasks, &[("password", sealed)]).run().expect("failed", "task_failed");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "correct horse");
    let transcript = ended.transcript();
    assert!(!transcript.contains("correct horse"), "{transcript}");
    assert!(!transcript.contains("hidden-42"), "{transcript}");
    assert_eq!(ended.step("Show it").message.as_deref(), Some("it is ********"));
}

/// A document laid out in another way, a value of it, and what filters and Ansible's own printing make of a secret.
#[tokio::test]
async fn a_secret_is_masked_in_what_filters_and_printing_make_of_it() {
    let (case, _minion) = one().await;
    let key = "-----BEGIN KEY-----\nQUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo\n-----END KEY-----\n";
    let account = json!({"type": "service_account", "private_key": key});
    let account = case.seal(&format!("{account:#}\n"));
    let password = case.seal("it's/corr\"ect-h\u{f6}rse+1");
    let tasks = r#"
- ansible.builtin.debug: {msg: "{{ example_account }}"}
- ansible.builtin.debug: {msg: "{{ (example_account | from_json).private_key }}"}
- ansible.builtin.debug: {msg: "{{ example_account | from_json | to_nice_yaml }}"}
- ansible.builtin.debug: {msg: "{{ example_account | b64encode | regex_replace('(.{64})', '\\1\n') }}"}
- ansible.builtin.debug: {msg: "postgres://app:{{ example_password | urlencode }}@db/app"}
- name: Show what Vault decrypts
  ansible.builtin.debug: {msg: "it is {{ decrypted | unvault('pw-of-the-vault') }}"}
  vars:
    decrypted: |
      $ANSIBLE_VAULT;1.1;AES256
      37363765326137363765646638373538393065393238656430306665353466636131373139656134
      3734333830653165626461363366633433666639656464380a666635616563336134653364363637
      37656561343836643638653934326438646138666133376331633230333335313061336532646536
      6339336139356139640a653665303262353834353236643565663937303634386132303862373230
      30393031323333313535313461663965656137313165323866643234333165643563
- ansible.builtin.command:
    argv: [/bin/sh, -c, "echo --password={{ example_password | quote }}; exit 7", "{{ {'p': example_password} | to_json }}"]
"#;
    let variables = [("account", account), ("password", password)];
    let ended = case.task_file("forms", tasks, &variables).run().expect("failed", "task_failed");
    let transcript = ended.transcript();
    for shown in ["QUJDREVG", "UVVKRFJFVkd", "corr", "rse+1", "h%C3", "topsecret"] {
        assert!(!transcript.contains(shown), "{shown} in {transcript}");
    }
    assert_eq!(ended.step("Show what Vault decrypts").message.as_deref(), Some("it is ********"));
    assert!(transcript.contains("postgres://app:********@db/app"), "{transcript}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_shows_the_difference() {
    let (mut case, _minion) = one().await;
    // As a relayd of the version before says it.
    case.operation.check = true;
    let file = case.path("file");
    let tasks = format!(
        "- name: Write\n  ansible.builtin.copy:\n    content: new\n    dest: {}\n    mode: '0600'\n",
        file.display()
    );
    let ended = case.task_file("write", &tasks, &[]).run().expect("succeeded", "completed");
    assert!(!file.exists());
    let step = ended.step("Write");
    assert_eq!(step.status, StepStatus::Changed);
    assert!(step.diff.as_ref().is_some_and(|diff| diff.to_string().contains("new")), "{step:?}");
}

#[tokio::test]
async fn a_playbook_that_does_not_parse_says_where() {
    let (case, _minion) = one().await;
    let ended = case.task_file("broken", "- name: [\n", &[]).run().expect("failed", "playbook_invalid");
    assert!(ended.reason().contains("broken.yml"), "{}", ended.reason());
    let (case, _minion) = one().await;
    let ended = case
        .task_file("odd", "- name: x\n  no_such_module:\n", &[])
        .run()
        .expect("failed", "playbook_invalid");
    assert!(ended.reason().contains("no_such_module"), "{}", ended.reason());
}

#[tokio::test]
async fn canceling_ends_what_runs_on_the_minion() {
    let (case, _minion) = one().await;
    let seconds = unique_seconds();
    let tasks = format!("- name: Wait\n  ansible.builtin.command: sleep {seconds}\n");
    let mut running = case.task_file("wait", &tasks, &[]).start();
    running.until("the sleep runs", |_| runs(&seconds));
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!((ended.task_finished().local, ended.task_finished().remote), (Remains::Gone, Remains::Gone));
    assert!(!runs(&seconds));
}

#[tokio::test]
async fn an_operators_own_playbook_runs_and_is_marked_too() {
    let (case, _minion) = one().await;
    let roots = case.path("roots");
    std::fs::create_dir_all(&roots).unwrap();
    let playbook = roots.join("own.yml");
    let play = r#"
- name: Own
  hosts: task
  gather_facts: false
  tasks:
    - name: Look
      ansible.builtin.command: printenv AEGIR_ATTEMPT
      changed_when: false
      register: found
    - name: Say
      ansible.builtin.debug:
        msg: "{{ found.stdout }} {{ example_text }} {{ groups['service_nginx'] | join(',') }}"
"#;
    std::fs::write(&playbook, play).unwrap();
    let mut case = case;
    case.operation.hosts[0].services.insert("nginx".parse().unwrap(), Default::default());
    let attempt = case.operation.attempt_id().to_string();
    let ended = case
        .task("own", TaskAction::Playbook(playbook), &[("text", json!("{{ x }}"))])
        .run()
        .expect("succeeded", "completed");
    assert_eq!(ended.step("Say").message.as_deref(), Some(format!("{attempt} {{{{ x }}}} web1").as_str()));
}

#[tokio::test]
async fn a_minion_without_python_says_so() {
    let (mut case, _minion) = one().await;
    case.plan.settings.minion_python = "/no/such/python3".into();
    let ended = case.task_file("any", "- name: x\n  ansible.builtin.ping:\n", &[]).run();
    let ended = ended.expect("failed", "python_missing");
    assert!(ended.reason().contains("/no/such/python3"), "{}", ended.reason());
}

#[tokio::test]
async fn a_missing_ansible_and_another_plug_in_say_so() {
    let (mut case, _minion) = one().await;
    case.plan.settings.ansible_playbook = "no-such-ansible".into();
    case.task_file("any", "- name: x\n  ansible.builtin.ping:\n", &[])
        .run()
        .expect("failed", "program_missing");
    let (mut case, _minion) = one().await;
    let plugins = case.path("plugins");
    std::fs::create_dir_all(plugins.join("callback_plugins")).unwrap();
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("ansible/callback_plugins/aegir.py");
    let text = std::fs::read_to_string(ours).unwrap().replace("\nVERSION = ", "\nVERSION = 99");
    std::fs::write(plugins.join("callback_plugins/aegir.py"), text).unwrap();
    case.plan.settings.ansible_plugins = plugins;
    let ended = case.task_file("any", "- name: x\n  ansible.builtin.ping:\n", &[]).run();
    let ended = ended.expect("failed", "runner_failed");
    assert!(ended.reason().contains("version 99"), "{}", ended.reason());
}

#[tokio::test]
async fn everything_rides_on_one_connection() {
    let (case, minion) = one().await;
    let ping = "- name: x\n  ansible.builtin.ping:\n- name: y\n  ansible.builtin.ping:\n";
    let ended = case.task_file("one", ping, &[]).task_file("two", ping, &[]).run();
    let _ended = ended.expect("succeeded", "completed");
    let log = std::fs::read_to_string(minion.log()).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
}
