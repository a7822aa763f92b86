//! What roles hand over: to the frontend, and to the Tasks after them.

use aegir_protocol::operation::sealed;
use aegir_protocol::record::Record;
use serde_json::{Value, json};

use crate::ansible::one;
use crate::case::{Case, Ended};

fn named(ended: &Ended) -> Vec<(&str, &Value)> {
    ended.documents().iter().map(|document| (document.name.as_str(), &document.value)).collect()
}

/// A step that writes a value to a file.
fn write(value: &str, case: &Case, file: &str) -> String {
    format!(
        "- ansible.builtin.copy: {{content: \"{value}\", dest: {}, mode: '0600'}}\n",
        case.path(file).display()
    )
}

#[tokio::test]
async fn a_module_of_the_role_hands_over_documents() {
    let (case, _minion) = one().await;
    let module = r#"
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={})
module.exit_json(changed=False, aegir_documents={'packages': {'drupal': '10.1'}}, aegir_progress={'percent': 50, 'message': 'half'})
"#;
    let ended = case
        .module("example_packages", module)
        .task_file("list", "- example_packages:\n", &[])
        .outputs(json!({"packages": {"type": "object", "fresh_seconds": 3600}}))
        .run()
        .expect("succeeded", "completed");
    assert_eq!(named(&ended), [("packages", &json!({ "drupal": "10.1" }))]);
    assert_eq!(ended.documents()[0].fresh_seconds, Some(3600));
    let half = |record: &Record| matches!(record, Record::Progress(progress) if progress.percent == 50);
    assert!(ended.records.iter().any(half));
}

#[tokio::test]
async fn a_role_hands_over_values_in_one_line() {
    let (case, _minion) = one().await;
    let tasks = r#"
- aegir_progress: {percent: 40, message: half of it}
- aegir_document: {name: backup, value: '{{ {"path": place, "parts": [1, place | length]} }}'}
  vars: {place: '/b'}
- aegir_document: {name: '{{ item }}', value: 1, entity: {kind: platform, id: p1}}
  loop: [one, two]
"#;
    let ended = case
        .task_file("tell", tasks, &[])
        .outputs(json!({
            "backup": {"type": "object", "properties": {"parts": {"items": {"type": "integer"}}}},
            "one": {},
            "two": {},
        }))
        .run()
        .expect("succeeded", "completed");
    let backup = json!({"path": "/b", "parts": [1, 2]});
    assert_eq!(named(&ended), [("backup", &backup), ("one", &json!(1)), ("two", &json!(1))]);
    let about = |document: usize| json!(ended.documents()[document].entity);
    assert_eq!((about(0), about(1)), (Value::Null, json!({"kind": "platform", "id": "p1"})));
    let progress = ended.records.iter().find_map(|record| match record {
        Record::Progress(progress) => Some((progress.percent, progress.message.as_deref())),
        _ => None,
    });
    assert_eq!(progress, Some((40, Some("half of it"))));
    for (wrong, says) in [
        ("aegir_document: {name: ../x, value: 1}", "no name for a document"),
        ("aegir_document: {name: backup}", "value"),
        ("aegir_document: {name: backup, value: 1, entity: {kind: site}}", "id"),
        ("aegir_progress: {percent: 140}", "0 to 100"),
        ("aegir_document: {name: backup, value: 1}\n  no_log: true", "no_log"),
        ("aegir_document: {name: backup, value: \"{{ 'x' * 3000000 }}\"}", "3000002 characters"),
    ] {
        let (case, _minion) = one().await;
        let ended =
            case.task_file("tell", &format!("- {wrong}\n"), &[]).run().expect("failed", "task_failed");
        assert!(ended.reason().contains(says), "{}", ended.reason());
    }
}

#[tokio::test]
async fn a_task_that_hands_over_what_it_should_not_fails_at_its_end() {
    let document = |value: &str| {
        format!("- aegir_document: {{name: backup, value: {value}}}\n- ansible.builtin.debug:\n")
    };
    let whole = json!({"backup": {"type": "object", "properties": {"bytes": {"type": "integer"}}}});
    let cases = [
        (document("1"), json!({}), "document backup was left out: the manifest does not declare it"),
        (document("{bytes: many}"), whole.clone(), r#"/bytes: "many" is not of type "integer""#),
        (document("{__ansible_unsafe: x}"), whole.clone(), "has a meaning of its own in Ansible"),
        (document("short"), json!({"backup": {"type": "string", "secret": true}}), "fewer than 6 bytes"),
        (
            "- ansible.builtin.debug:\n".to_owned(),
            whole,
            "it did not hand over what its manifest declares: backup",
        ),
    ];
    for (tasks, declared, says) in cases {
        let (case, _minion) = one().await;
        let ended =
            case.task_file("tell", &tasks, &[]).outputs(declared).run().expect("failed", "output_invalid");
        assert!(ended.reason().contains(says), "{}", ended.reason());
        assert_eq!((ended.documents().is_empty(), ended.steps().is_empty()), (true, false));
    }
}

#[tokio::test]
async fn a_document_that_no_record_holds_is_named_at_the_end_of_its_task() {
    let (case, _minion) = one().await;
    let module = r#"
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule(argument_spec={})
module.exit_json(changed=False, aegir_documents={'large': 'x' * 300000, 'huge': 'x' * 4000000, 'small': 1})
"#;
    let ended = case
        .module("example_packages", module)
        .task_file("list", "- example_packages:\n", &[])
        .outputs(json!({"large": {}, "huge": {}, "small": {}}))
        .run()
        .expect("failed", "output_invalid");
    assert_eq!(named(&ended), [("small", &json!(1))]);
    let says = "document large was left out: its record would have 300";
    assert!(ended.reason().contains(says) && ended.reason().contains(", and 1 more"), "{}", ended.reason());
}

#[tokio::test]
async fn later_tasks_get_what_was_handed_over_and_nobody_else_a_secret() {
    let (case, _minion) = one().await;
    // Sealed for the key that this makes.
    case.seal("unused text");
    let dump = "
- aegir_document: {name: backup, value: {path: '{{ \"{{ 6 * 7 }}\" }}'}}
- aegir_document: {name: password, value: correct horse battery}
- aegir_document: {name: note, value: the word is correct horse battery}
";
    let load = [
        write("{{ aegir.outputs.dump.backup.path }} {{ aegir.outputs.dump.password }}", &case, "file"),
        "- ansible.builtin.debug: {msg: 'it is {{ aegir.outputs.dump.password }}'}\n".to_owned(),
    ]
    .concat();
    let ended = case
        .task_file("dump", dump, &[])
        .outputs(json!({
            "backup": {"type": "object"},
            "password": {"type": "string", "secret": true},
            "note": {},
            "more": {"optional": true},
        }))
        .task_file("load", &load, &[])
        .run()
        .expect("succeeded", "completed");
    let file = std::fs::read_to_string(ended.case.path("file")).unwrap();
    assert_eq!(file, "{{ 6 * 7 }} correct horse battery");
    assert!(!ended.transcript().contains("correct horse"), "{}", ended.transcript());
    let [_, password, note] = ended.documents()[..] else { panic!("{:#?}", ended.records) };
    assert!(sealed(&password.value).is_some());
    assert_eq!(note.value, json!("the word is ********"));
}

#[tokio::test]
async fn what_an_earlier_attempt_has_finished_is_not_done_again() {
    let (case, _minion) = one().await;
    let password = case.seal("correct horse battery");
    let load = write("{{ aegir.outputs.dump.path }} {{ aegir.outputs.dump.password }}", &case, "file");
    let ended = case
        .task_file("dump", "- ansible.builtin.fail:\n", &[])
        .done(json!({"path": "/srv/b.tar", "password": password}))
        .task_file("load", &load, &[])
        .run()
        .expect("succeeded", "completed");
    let file = std::fs::read_to_string(ended.case.path("file")).unwrap();
    assert_eq!(file, "/srv/b.tar correct horse battery");
    let Some(Record::Started(started)) = ended.records.first() else { panic!("no start") };
    let done: Vec<_> = started.tasks.iter().map(|task| task.done_in.map(|attempt| attempt.get())).collect();
    assert_eq!((done, started.digest.as_deref()), (vec![Some(1), None], Some("d1")));
    assert_eq!(ended.task_finished().task, 2);
}
