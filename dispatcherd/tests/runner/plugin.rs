//! Tasks of plug-in runners: the examples of the documentation, and some that do not keep to the protocol.

use std::path::Path;
use std::time::{Duration, Instant};

use aegir_attempt::plan::{PluginCommand, TaskAction};
use aegir_catalog::manifest::PluginVerb;
use aegir_protocol::record::{Record, Remains, Stream};
use serde_json::{Value, json};

use crate::case::{Case, runs, unique_seconds};

fn action(command: &[&str], verb: PluginVerb, settings: &Value) -> TaskAction {
    let config = PluginCommand {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        open_files: 64,
        memory_bytes: Some(1 << 30),
        processor_seconds: Some(60),
        grace_seconds: 60,
    };
    let settings = settings.as_object().unwrap().clone();
    TaskAction::Plugin { runner: "note".parse().unwrap(), config, verb, settings }
}

fn note(verb: PluginVerb, case: &Case) -> TaskAction {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/howto/runners/note.py");
    let directory = case.path("notes");
    std::fs::create_dir_all(&directory).unwrap();
    action(&[script.to_str().unwrap()], verb, &json!({ "directory": directory }))
}

/// A plug-in that is a script for a shell.
fn script(case: Case, text: &str) -> Case {
    script_with_grace(case, text, 60)
}

/// The same for one that has so many seconds to end after SIGINT.
fn script_with_grace(case: Case, text: &str, seconds: u64) -> Case {
    let mut action = action(&["/bin/sh", "-c", text, "plugin"], PluginVerb::Apply, &json!({}));
    if let TaskAction::Plugin { config, .. } = &mut action {
        config.grace_seconds = seconds;
    }
    case.task("note", action, &[])
}

const GREETING: &str = r#"echo '{"event":"greeting","protocol":"aegir.runner/0","version":"1"}' >&3"#;

#[tokio::test]
async fn the_example_applies_hands_over_plans_and_deletes() {
    let case = Case::new();
    let text = case.seal("a secret note");
    let action = note(PluginVerb::Apply, &case);
    let path = case.path("notes/s1");
    let ended = case
        .task("note", action, &[("text", text)])
        .outputs(json!({"note": {"type": "object"}}))
        .run()
        .expect("succeeded", "completed");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a secret note");
    assert_eq!(ended.documents()[0].value, json!({ "path": path }));
    assert!(ended.steps()[0].name.starts_with("Write "));
    assert!(!ended.transcript().contains("a secret note"));

    let case = Case::new();
    let (plan, path) = (note(PluginVerb::Apply, &case), case.path("notes/s1"));
    let mut case = case.task("note", plan, &[("text", json!("{{ x }}"))]);
    case.operation.dry_run = true;
    let ended = case.run().expect("succeeded", "completed");
    assert!(!path.exists() && ended.steps()[0].name.starts_with("Would write "));
    let planned = |record: &Record| matches!(record, Record::Plan(plan) if plan.changes == json!({"path": path, "changed": true}));
    assert!(ended.records.iter().any(planned));

    for (dry_run, check) in [(true, false), (false, true), (false, false)] {
        let case = Case::new();
        let (delete, path) = (note(PluginVerb::Delete, &case), case.path("notes/s1"));
        std::fs::write(&path, "old").unwrap();
        let mut case = case.task("note", delete, &[]);
        // A relayd of the version before says `check`.
        (case.operation.dry_run, case.operation.check) = (dry_run, check);
        let _ended = case.run().expect("succeeded", "completed");
        assert_eq!(path.exists(), dry_run || check);
    }
}

#[tokio::test]
async fn what_is_no_line_of_the_protocol_ends_the_task() {
    let other = GREETING.replace("runner/0", "runner/9");
    for (text, says) in [
        ("true", "said nothing on descriptor 3"),
        ("echo '{\"event\":\"progress\",\"percent\":1}' >&3; sleep 60", "does not greet first"),
        (&*format!("{other}; sleep 60"), "speaks \"aegir.runner/9\""),
        (&*format!("{GREETING}; echo nonsense >&3; sleep 60"), "no line of the protocol"),
        (&*format!("{GREETING}; echo '{{\"event\":\"wish\"}}' >&3; sleep 60"), "no line of the protocol"),
    ] {
        // A shell that is just starting its `sleep` may miss SIGINT.
        let ended = script_with_grace(Case::new(), text, 2).run().expect("failed", "runner_failed");
        assert!(ended.reason().contains(says), "{text}: {}", ended.reason());
    }
}

#[tokio::test]
async fn a_failure_has_the_reason_that_the_plug_in_gives() {
    let step = r#"echo '{"event":"step","name":"Ask","status":"failed","message":"source_not_allowed: not there"}' >&3"#;
    let ended = script(Case::new(), &format!("{GREETING}; {step}; exit 3"))
        .run()
        .expect("failed", "source_not_allowed");
    assert!(ended.reason().contains("Ask: not there"), "{}", ended.reason());
    let ended = script(Case::new(), &format!("{GREETING}; echo no cluster >&2; exit 3"))
        .run()
        .expect("failed", "task_failed");
    assert!(ended.reason().contains("exit code 3: no cluster"), "{}", ended.reason());
    assert_eq!(ended.text(Stream::Stderr), "no cluster\n");
}

#[tokio::test]
async fn limits_hold_and_the_environment_is_cleared() {
    let text = format!(
        "{GREETING}; ulimit -n; ulimit -c; ulimit -v; ulimit -t; env | cut -d= -f1 | sort | tr '\\n' ' '; cat | head -c 10"
    );
    let ended = script(Case::new(), &text).run().expect("succeeded", "completed");
    assert_eq!(
        ended.text(Stream::Stdout),
        "64\n0\n1048576\n60\nAEGIR_CHILD HOME LC_ALL PATH PWD {\"protocol"
    );
}

#[tokio::test]
async fn a_plug_in_that_is_canceled_is_asked_to_cancel() {
    for (cancel, remote) in [("echo canceling", Remains::Gone), ("exit 1", Remains::Unknown)] {
        let seconds = unique_seconds();
        let text = format!("{GREETING}; case $1 in cancel) {cancel};; *) echo begun; sleep {seconds};; esac");
        let mut running = script(Case::new(), &text).start();
        running.until_printed("begun");
        running.cancel();
        let ended = running.wait().expect("canceled", "canceled_by_request");
        assert_eq!((ended.task_finished().local, ended.task_finished().remote), (Remains::Gone, remote));
        assert_eq!(ended.text(Stream::Stdout).contains("canceling"), remote == Remains::Gone);
        assert!(!runs(&seconds));
        assert!(matches!(ended.records.last(), Some(Record::Finished(_))));
    }
}

/// Says which signal has come, waits for so long after SIGINT, and ends.
fn ends_after(seconds: u32) -> String {
    format!(
        "{GREETING}; [ $1 = cancel ] && echo canceling && exit; trap 'echo interrupted; sleep {seconds}; echo in order; exit 0' INT; \
         trap 'echo terminated; exit 1' TERM; echo begun; while :; do sleep 0.1; done"
    )
}

#[tokio::test]
async fn a_plug_in_has_the_grace_that_its_operator_gives_it() {
    // Longer than the ten seconds of other children.
    let mut running = script_with_grace(Case::new(), &ends_after(11), 30).start();
    running.until_printed("begun");
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.text(Stream::Stdout), "begun\ninterrupted\nin order\ncanceling\n");
    assert_eq!(ended.exit().code, Some(0));

    let ignores = ends_after(60).replace("sleep 60; echo in order; exit 0", "");
    let mut running = script_with_grace(Case::new(), &ignores, 1).start();
    running.until_printed("begun");
    let begin = Instant::now();
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.text(Stream::Stdout), "begun\ninterrupted\nterminated\ncanceling\n");
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_plug_in_whose_lease_ends_while_it_ends_has_no_long_grace() {
    let ignores = ends_after(60).replace("sleep 60; echo in order; exit 0", "");
    let mut running = script_with_grace(Case::new(), &ignores, 3600).lease(3).start();
    running.until_printed("begun");
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    // Nor is it asked to cancel what another attempt may have begun under the same name.
    assert_eq!(ended.text(Stream::Stdout), "begun\ninterrupted\nterminated\n");
    assert_eq!(ended.task_finished().remote, Remains::Unknown);
}
