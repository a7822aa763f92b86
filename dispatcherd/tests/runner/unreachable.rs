//! Minions that can't be reached, before a Task of Ansible or in its middle: real sshds.

use aegir_protocol::id::Attempt;
use aegir_protocol::record::{Remains, Step, StepStatus};
use aegir_testkit::TestMinion;

use crate::case::{Case, Ended, runs, unique_seconds};

/// A case with two minions, and both.
async fn two() -> (Case, TestMinion, TestMinion) {
    let case = Case::new();
    let web = TestMinion::start(&case.path("web1")).await.unwrap();
    let old = TestMinion::start(&case.path("old")).await.unwrap();
    // The Operation logs in with the key of the one that is named last.
    let key = std::fs::read(web.identity_file.with_extension("pub")).unwrap();
    std::fs::write(old.directory().join("authorized_keys"), key).unwrap();
    (case.minion("old", &old).minion("web1", &web), web, old)
}

/// The result of one host.
fn on<'a>(ended: &'a Ended, step: &str, host: &str) -> &'a Step {
    let found = ended.steps().into_iter().find(|found| found.name == step && found.host == host);
    found.unwrap_or_else(|| panic!("no step {step:?} on {host} in {:#?}", ended.records))
}

const IN_BACKGROUND: &str = "async: 300, poll: 0, changed_when: false";

#[tokio::test]
async fn only_what_was_cut_off_is_ended_and_only_where_it_was() {
    let (case, _web, _old) = two().await;
    let (background, cut_off) = (unique_seconds(), unique_seconds());
    // The step ends the sshd that it came through, in the background of it, and runs on.
    let tasks = format!(
        r#"
- {{name: Begin, ansible.builtin.command: sleep {background}, {IN_BACKGROUND}}}
- name: Lose the connection
  ansible.builtin.shell: |
    parent=$$
    until grep -q ^sshd /proc/$parent/comm; do parent=$(awk '/^PPid/{{print $2}}' /proc/$parent/status); done
    (sleep 1; kill -9 $parent) & exec sleep {cut_off}
  when: inventory_hostname == 'old'
  ignore_unreachable: true
- {{name: Go on, ansible.builtin.debug: }}
"#
    );
    let ended = case.task_file("lose", &tasks, &[]).run().expect("succeeded", "completed");
    assert_eq!(on(&ended, "Lose the connection", "old").status, StepStatus::Ignored);
    assert!(!runs(&cut_off), "what was cut off still runs");
    let said = ended.step("End what a lost connection has cut off");
    assert_eq!(said.host, "old");
    assert!(said.message.as_ref().is_some_and(|message| message.starts_with("ended ")), "{said:?}");
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    // On both hosts.
    assert_eq!(end_all(&background), 2);
}

/// Ends the processes with this word on their command line that are no shells or wrappers around them.
fn end_all(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let sleeps = |id: &i32| {
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line == [b"sleep\0", word.as_bytes(), b"\0"].concat()
    };
    let found: Vec<_> = ids.filter(sleeps).collect();
    for id in &found {
        let id = rustix::process::Pid::from_raw(*id).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    }
    found.len()
}

#[tokio::test]
async fn what_a_host_that_is_down_means_for_the_task_ansible_decides() {
    let tasks = "
- {name: Look, ansible.builtin.ping: , ignore_unreachable: true}
- {name: Write, ansible.builtin.command: 'true', when: inventory_hostname == 'web1'}
";
    let (case, _web, old) = two().await;
    drop(old);
    let ended = case.task_file("look", tasks, &[]).run().expect("succeeded", "completed");
    assert_eq!(on(&ended, "Write", "web1").status, StepStatus::Changed);
    assert_eq!(ended.task_finished().remote, Remains::Gone);

    for attempt in [Attempt::FIRST, Attempt::FIRST.next()] {
        let (mut case, _web, old) = two().await;
        drop(old);
        case.operation.attempt = attempt;
        case.plan.attempt = case.operation.attempt_id();
        let tasks = tasks.replace(", ignore_unreachable: true", "");
        let ended = case.task_file("look", &tasks, &[]).run().expect("failed", "minion_unreachable");
        assert!(
            ended.reason().contains("minion old") && ended.reason().contains("refused"),
            "{}",
            ended.reason()
        );
        assert_eq!(on(&ended, "Write", "web1").status, StepStatus::Changed);
    }
}
