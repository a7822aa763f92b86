//! What playbooks say of themselves, and how their Tasks end for it: the real ansible-playbook, over a real sshd.

use aegir_attempt::plan::TaskAction;
use aegir_protocol::record::StepStatus;
use serde_json::{Value, json};

use crate::ansible::one;
use crate::case::Ended;

async fn run(tasks: &str, outputs: Value) -> Ended {
    let (case, _minion) = one().await;
    case.task_file("try", tasks, &[]).outputs(outputs).run()
}

#[tokio::test]
async fn texts_that_take_more_bytes_than_characters_block_nothing() {
    let tasks = r#"
- name: Large
  ansible.builtin.debug: {msg: "{{ '😀' * 200000 }}"}
- name: Larger
  ansible.builtin.debug: {msg: "{{ '\a' * 3000000 }}"}
- name: Many
  ansible.builtin.debug: {msg: "{{ 'é' * 2000 }}"}
  loop: "{{ range(30) | list }}"
- name: Another playbook that this one starts
  delegate_to: localhost
  ansible.builtin.command: ansible-playbook --inventory localhost, {{ example_other }}
  environment: {ANSIBLE_INVENTORY_ENABLED: host_list}
- name: After it
  ansible.builtin.debug: {msg: still here}
"#;
    let (case, _minion) = one().await;
    let other = case.path("other.yml");
    let play = r#"[{hosts: localhost, gather_facts: false, tasks: [{debug: {msg: "{{ 'x' * 500000 }}"}}]}]"#;
    std::fs::write(&other, play).unwrap();
    let case = case.task_file("try", tasks, &[("other", json!(other))]);
    let ended = case.run().expect("succeeded", "completed");
    assert!(ended.step("Large").message.as_ref().is_some_and(|message| message.starts_with("😀😀")));
    assert_eq!(ended.step("After it").message.as_deref(), Some("still here"));
    assert_eq!(ended.steps().len(), 35);
}

#[tokio::test]
async fn results_that_are_not_json_lose_nothing() {
    let module = r"
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={})
documents = {'load': float('inf'), 'size': 2 ** 70}
module.fail_json(msg='ratio is wrong', diff={'before': {'ratio': 0.5}, 'after': {'ratio': float('nan')}}, aegir_documents=documents)
";
    let tasks = r#"
- name: Module whose ratio is no number
  example_ratio:
  diff: true
"#;
    let (case, _minion) = one().await;
    let ended = case
        .module("example_ratio", module)
        .task_file("try", tasks, &[])
        .outputs(json!({"load": {"type": "string"}, "size": {"type": "string"}}))
        .run()
        .expect("failed", "task_failed");
    assert_eq!(ended.reason(), "in \"Do try\" on web1: Module whose ratio is no number: ratio is wrong");
    let values: Vec<_> = ended.documents().iter().map(|document| document.value.clone()).collect();
    assert_eq!(values, [json!("Infinity"), json!("1180591620717411303424")]);
    let diff = ended.step("Module whose ratio is no number").diff.clone();
    assert_eq!(diff, Some(json!({"before": {"ratio": 0.5}, "after": {"ratio": "NaN"}})));
}

#[tokio::test]
async fn a_value_that_is_nested_too_deep_is_left_out_by_name() {
    let module = r"
from ansible.module_utils.basic import AnsibleModule
deep = 1
for _ in range(70):
    deep = [deep]
AnsibleModule(argument_spec={}).exit_json(aegir_documents={'deep': deep}, msg=deep)
";
    let (case, _minion) = one().await;
    let ended = case
        .module("example_deep", module)
        .task_file("try", "- example_deep:\n", &[])
        .outputs(json!({"deep": {"type": "array"}}))
        .run()
        .expect("succeeded", "completed");
    assert!(ended.documents()[0].value.to_string().contains("left out: more than 60 levels"));
    assert!(ended.step("example_deep").message.as_ref().is_some_and(|message| message.starts_with("[[[")));
}

#[tokio::test]
async fn whatever_explains_a_failure_is_its_reason() {
    let warned = "- name: Break\n  ansible.builtin.shell: echo broke; echo warned >&2; exit 1\n";
    let items =
        "- name: Each\n  ansible.builtin.fail: {msg: 'site_missing: no {{ item }}'}\n  loop: [a, b]\n";
    for (tasks, code, says) in [
        ("- ansible.builtin.include_tasks: absent.yml\n", "task_failed", "absent.yml"),
        ("- ansible.builtin.include_vars: absent.yml\n", "task_failed", "absent.yml"),
        (warned, "task_failed", "broke"),
        (items, "site_missing", "Each: no a (item a)"),
    ] {
        let ended = run(tasks, json!({})).await.expect("failed", code);
        assert!(ended.reason().contains(says), "{}", ended.reason());
    }
}

#[tokio::test]
async fn debug_shows_what_a_variable_is() {
    let tasks = "
- ansible.builtin.command: echo seventeen
  register: out
- {name: Show me, ansible.builtin.debug: {var: out.stdout}}
- {name: Show each, ansible.builtin.debug: {var: item}, loop: [1]}
";
    let ended = run(tasks, json!({})).await.expect("succeeded", "completed");
    assert_eq!(ended.step("Show me").message.as_deref(), Some("out.stdout: seventeen"));
    let each = ended.steps().into_iter().find(|step| step.item.is_some()).unwrap().message.clone();
    assert_eq!(each.as_deref(), Some("item: 1"));
}

/// What goes wrong and is taken care of, and what goes wrong for good: `Unpack`.
const UNPACK: &str = "- {name: Unpack, ansible.builtin.fail: {msg: 'backup_damaged: no archive'}}\n";

#[tokio::test]
async fn the_reason_is_the_failure_that_ended_the_play() {
    let look = "{name: Look, ansible.builtin.fail: {msg: 'site_missing: no old site'}}";
    let fine = "{name: Fine, ansible.builtin.debug: }";
    let rescued = format!("- block: [{look}]\n  rescue: [{fine}]\n{UNPACK}");
    let nothing_to_do = format!("- block: [{look}]\n  rescue: [{{ansible.builtin.meta: noop}}]\n{UNPACK}");
    let fails_too = format!("- block: [{look}]\n  rescue:\n  {UNPACK}  always: [{look}]\n");
    let always = format!("- block:\n  {UNPACK}  always: [{fine}, {look}]\n");
    for tasks in [&rescued, &nothing_to_do, &fails_too, &always] {
        let ended = run(tasks, json!({})).await.expect("failed", "backup_damaged");
        assert!(ended.reason().contains("Unpack: no archive"), "{tasks}{}", ended.reason());
        assert_eq!(ended.step("Unpack").status, StepStatus::Failed);
        let look = ended.steps().into_iter().find(|step| step.name == "Look");
        let expected = if *tasks == always { StepStatus::Failed } else { StepStatus::Ignored };
        assert_eq!(look.unwrap().status, expected, "{tasks}");
    }
}

#[tokio::test]
async fn a_playbook_that_is_for_no_host_has_not_succeeded() {
    let play =
        |hosts: &str| format!("- {{hosts: {hosts}, gather_facts: false, tasks: [{{name: x, debug: }}]}}\n");
    let run = async |text: String, may: bool| {
        let (case, _minion) = one().await;
        let playbook = case.path("own.yml");
        std::fs::write(&playbook, text).unwrap();
        let mut case = case.task("own", TaskAction::Playbook(playbook), &[]);
        case.plan.tasks[0].may_match_no_host = may;
        case.run()
    };
    let none = play("web") + &play("db:&task");
    let ended = run(none.clone(), false).await.expect("failed", "no_host_matched");
    assert!(
        ended.reason().contains("(web1)") && ended.reason().contains("`hosts: web`"),
        "{}",
        ended.reason()
    );
    let _ended = run(none.clone(), true).await.expect("succeeded", "completed");
    let _ended = run(none + &play("web1"), false).await.expect("succeeded", "completed");
}
