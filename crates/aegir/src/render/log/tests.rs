use aegir_protocol::id::{Attempt, OperationId};
use aegir_protocol::operation::Target;
use aegir_protocol::record::{ChildExit, TaskTitle};
use aegir_protocol::state::State;
use jiff::ToSpan;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn look(colour: bool) -> Look {
    Look { colour, ..Look::plain() }
}

fn target() -> Target {
    Target {
        kind: "site".parse().unwrap(),
        id: "example.test".parse().unwrap(),
        name: "example.test".parse().unwrap(),
    }
}

fn id() -> OperationId {
    "019235f0-7a3c-7def-8000-000000000001".parse().unwrap()
}

fn started(dry_run: bool) -> Record {
    let task = |name: &str, title: &str| TaskTitle {
        role: "static_site".parse().unwrap(),
        name: name.parse().unwrap(),
        title: title.to_owned(),
        done_in: (name == "codebase").then_some(Attempt::FIRST),
    };
    Record::Started(Started {
        operation: id(),
        attempt: Attempt::FIRST,
        name: "static_site.deploy".parse().unwrap(),
        target: target(),
        node: "node1".parse().unwrap(),
        version: "0.0.0".to_owned(),
        dry_run,
        check: dry_run,
        digest: None,
        tasks: vec![task("codebase", "Fetch the codebase"), task("vhost", "Write the virtual host")],
    })
}

fn task_started(task: u32, name: &str, title: &str, runner: &str, hosts: &[&str]) -> Record {
    Record::TaskStarted(TaskStarted {
        task,
        role: "static_site".parse().unwrap(),
        name: name.parse().unwrap(),
        title: title.to_owned(),
        runner: runner.to_owned(),
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
    })
}

fn output(task: u32, stream: Stream, host: Option<&str>, continued: bool, bytes: &[u8]) -> Record {
    Record::Output(Output::new(task, stream, host.map(|host| host.parse().unwrap()), 1, continued, bytes))
}

fn step(status: StepStatus, name: &str, message: Option<&str>) -> Step {
    Step {
        task: 2,
        name: name.to_owned(),
        action: "ansible.builtin.template".to_owned(),
        host: "web1".to_owned(),
        status,
        item: None,
        duration_ms: 412,
        message: message.map(str::to_owned),
        diff: None,
    }
}

fn task_finished(task: u32, outcome: Outcome, reason: Reason, exit: Option<i32>, remote: Remains) -> Record {
    let exit = ChildExit { code: exit, signal: None };
    Record::TaskFinished(TaskFinished { task, outcome, reason, exit, local: Remains::Gone, remote })
}

fn finished(outcome: Outcome, reason: Reason) -> Record {
    Record::Finished(Finished { outcome, reason, records: 0, sha256: String::new() })
}

fn reason(code: &str, message: &str) -> Reason {
    Reason { code: code.to_owned(), message: message.to_owned() }
}

/// The text of these records, one second apart.
fn text(log: &mut Log, records: &[Record]) -> String {
    let mut text = String::new();
    for (index, record) in records.iter().enumerate() {
        let seconds = i64::try_from(index).unwrap();
        let line = record.to_line(1, Timestamp::UNIX_EPOCH + seconds.seconds());
        text.push_str(&log.record(1, &line));
    }
    text
}

fn summary(state: State, why: Reason) -> OperationSummary {
    OperationSummary {
        id: id(),
        name: "static_site.deploy".parse().unwrap(),
        target: target(),
        backend: "main".parse().unwrap(),
        state,
        silent: false,
        blocked: None,
        reason: Some(why),
        attempt: Attempt::FIRST,
        dry_run: false,
        check: false,
        requested_by: None,
        requested_at: Timestamp::UNIX_EPOCH,
        changed_at: Timestamp::UNIX_EPOCH,
        revision: 5,
        cancel_requested: false,
    }
}

/// The text of [`deploy`], after which the Operation has failed.
fn whole(mut log: Log) -> String {
    let text = text(&mut log, &deploy());
    text + &log.end(&summary(State::Failed, reason("task_failed", "Task 2 failed.")))
}

fn deploy() -> Vec<Record> {
    let mut changed = step(StepStatus::Changed, "Write the virtual host", None);
    changed.diff =
        Some(json!({"before": "a\n", "after": "a\nlisten 8080;\n", "after_header": "/etc/nginx/x.conf"}));
    let mut item = step(StepStatus::Ok, "Make the directories", Some("nothing to say"));
    item.item = Some("/srv/example".to_owned());
    vec![
        started(false),
        task_started(1, "codebase", "Fetch the codebase", "shell", &[]),
        output(1, Stream::Stdout, None, false, b"Cloning\nReceiving 10%\rReceiving 100%\r\n"),
        output(1, Stream::Stderr, None, false, b"warning: \x1b[33mold\x1b[0m\n"),
        output(1, Stream::Stdout, None, false, b"a line in "),
        output(1, Stream::Stdout, None, true, b"two records\n"),
        output(1, Stream::Stdout, None, false, b"\xff\xfe without newline"),
        task_finished(1, Outcome::Succeeded, reason("completed", "It did."), Some(0), Remains::Gone),
        task_started(2, "vhost", "Write the virtual host", "ansible", &["web1", "web2"]),
        output(2, Stream::Stdout, None, false, b"PLAY [all]\n"),
        Record::Step(item),
        Record::Step(changed),
        output(2, Stream::Stdout, Some("web1"), false, b"reload\n"),
        output(2, Stream::Stderr, Some("web2"), false, b"slow\n"),
        Record::Progress(Progress { task: 2, percent: 40, message: Some("halfway, nearly".to_owned()) }),
        Record::Document(Document {
            task: 2,
            name: "packages".parse().unwrap(),
            entity: None,
            value: json!(["a", "b"]),
            sha256: String::new(),
            fresh_seconds: None,
        }),
        Record::Step(step(StepStatus::Failed, "Reload Nginx", Some("line one\nline two"))),
        task_finished(
            2,
            Outcome::Failed,
            reason("task_failed", "Reload Nginx failed on web1."),
            Some(2),
            Remains::Unknown,
        ),
        finished(Outcome::Failed, reason("task_failed", "Task 2 failed.")),
    ]
}

#[test]
fn a_whole_log() {
    insta::assert_snapshot!(whole(Log::new(look(false), Wanted::default())));
}

#[test]
fn a_whole_log_in_colour() {
    let text = whole(Log::new(look(true), Wanted::default()));
    insta::assert_snapshot!(text.replace('\u{1b}', "␛"));
}

#[test]
fn one_task_only() {
    insta::assert_snapshot!(whole(Log::new(look(false), Wanted { task: Some(1), all: false })));
}

#[test]
fn the_status_is_the_task_that_runs() {
    let mut log = Log::new(look(false), Wanted::default());
    let records = deploy();
    text(&mut log, &records[..2]);
    assert_eq!(log.status(), Some("Task 1 of 2: Fetch the codebase"));
    text(&mut log, &records[..8]);
    assert_eq!(log.status(), None);
    text(&mut log, &records[8..15]);
    assert_eq!(log.status(), Some("Task 2 of 2 · 40 % halfway, nearly"));
}

#[test]
fn what_is_not_known_is_said() {
    let mut log = Log::new(look(false), Wanted::default());
    let newer = br#"{"seq":1,"at":"2026-01-01T00:00:00Z","kind":"weather","body":{}}"#;
    assert_eq!(log.record(1, newer), "  (weather: only a newer aegir shows this)\n");
    assert!(log.record(1, b"nonsense").starts_with("not a record"));
}

#[test]
fn a_new_attempt_starts_afresh() {
    let mut log = Log::new(look(false), Wanted::default());
    text(&mut log, &deploy()[..5]);
    let line = started(true).to_line(1, Timestamp::UNIX_EPOCH);
    insta::assert_snapshot!(log.record(2, &line), @r"
    Attempt 2
    static_site.deploy of site example.test on node node1: 2 Tasks, 1 already done (dry run: changes nothing)
    ");
}

#[test]
fn an_end_without_the_last_record_is_told_from_the_ledger() {
    let mut log = Log::new(look(false), Wanted::default());
    text(&mut log, &deploy()[..5]);
    let lost = summary(State::Lost, reason("runner_gone", "Its runner ended."));
    insta::assert_snapshot!(log.end(&lost), @r"


    Lost: Its runner ended. (runner_gone)
    The transcript is incomplete: it ends here without its last record.
    ");
    let rejected = summary(State::Rejected, reason("unknown_role", "There is no such role."));
    insta::assert_snapshot!(
        Log::new(look(false), Wanted::default()).end(&rejected),
        @"Rejected: There is no such role. (unknown_role)"
    );
}

#[test]
fn an_attempt_that_another_follows_is_not_the_end() {
    let failed = finished(Outcome::Failed, reason("task_failed", "Task 2 failed."));
    let first = [started(false), failed];
    let second = |log: &mut Log| log.record(2, &started(false).to_line(1, Timestamp::UNIX_EPOCH));
    let said = "\nAttempt 1 failed after 1.0 s: Task 2 failed. (task_failed)\n";
    let log = || Log::new(look(false), Wanted::default());

    // It is known before the last record, after it, or only from the first record of the next one.
    let mut known = log();
    assert_eq!(known.at(2), "");
    assert!(text(&mut known, &first).ends_with(said));
    let mut later = log();
    assert!(!text(&mut later, &first).contains("Attempt 1"));
    assert_eq!(later.at(1) + &later.at(2), said);
    let mut last = log();
    text(&mut last, &first);
    assert!(second(&mut last).starts_with(&format!("{said}Attempt 2\n")));
    for log in [&mut known, &mut later] {
        assert!(second(log).starts_with("Attempt 2\n"));
    }

    let mut canceled = summary(State::Canceled, reason("canceled_by_request", "canceled by kim"));
    canceled.attempt = Attempt::FIRST.next();
    let mut log = log();
    text(&mut log, &first);
    insta::assert_snapshot!(log.end(&canceled), @r"

    Attempt 1 failed after 1.0 s: Task 2 failed. (task_failed)

    Canceled at attempt 2 by kim (canceled_by_request)
    ");
}

/// The reason of a failed step as dispatcherd makes it.
fn of_step(message: &str) -> Reason {
    reason("task_failed", &format!("web1: Reload Nginx: {message}"))
}

#[test]
fn an_error_is_told_once() {
    let message = "no route to host";
    let end = |step: &str, reason: Reason| {
        let mut log = Log::new(look(false), Wanted::default());
        let records = [
            started(false),
            task_started(2, "vhost", "Write", "ansible", &["web1"]),
            Record::Step(self::step(StepStatus::Failed, step, Some(message))),
            output(2, Stream::Stdout, None, false, b"PLAY RECAP ****\nweb1 : ok=0 failed=1\n"),
            task_finished(2, Outcome::Failed, reason.clone(), Some(2), Remains::Gone),
            finished(Outcome::Failed, reason.clone()),
        ];
        let on = reason.message.replacen("web1: ", " on web1: ", 1);
        let whole = Reason { message: format!("in \"Write\"{on}"), ..reason };
        text(&mut log, &records) + &log.end(&summary(State::Failed, whole))
    };
    let told = end("Reload Nginx", of_step(message));
    assert!(!told.contains("RECAP") && told.matches(message).count() == 1, "{told}");
    insta::assert_snapshot!(told.split_once("Task 2 of 2 f").unwrap().1, @r#"
    ailed after 3.0 s; exit code 2

    Failed after 5.0 s in "Write" on web1: Reload Nginx (task_failed)
    "#);
    let several = end("Reload Nginx", of_step("no route to host; 2 more failed"));
    assert!(several.ends_with("on web1: Reload Nginx; 2 more failed (task_failed)\n"), "{several}");
    // What no step has said stands in the last line.
    let other = end("Another step", of_step("it is full"));
    assert_eq!(other.matches("it is full").count(), 1, "{other}");
    assert!(other.ends_with("on web1: Reload Nginx: it is full (task_failed)\n"), "{other}");
}

#[test]
fn a_task_that_failed_before_its_transcript_broke_off_says_why() {
    let mut log = Log::new(look(false), Wanted::default());
    let failed = task_finished(2, Outcome::Failed, of_step("it is full"), Some(2), Remains::Gone);
    text(&mut log, &[started(false), task_started(2, "vhost", "Write", "ansible", &["web1"]), failed]);
    let end = log.end(&summary(State::Lost, reason("runner_gone", "its runner has ended")));
    assert!(
        end.starts_with("The Task failed: web1: Reload Nginx: it is full (task_failed)\n\nLost: its runner"),
        "{end}"
    );
}

#[test]
fn a_success_says_only_what_is_special() {
    let end = |message: &str| {
        let mut log = Log::new(look(false), Wanted::default());
        let completed = reason("completed", message);
        text(&mut log, &[started(false), finished(Outcome::Succeeded, completed.clone())]);
        log.end(&summary(State::Succeeded, completed))
    };
    assert_eq!(end("every Task did what it should"), "\nSucceeded after 1.0 s\n");
    let left = end("every Task did what it should; task run: what it has started runs on");
    assert_eq!(left, "\nSucceeded after 1.0 s; task run: what it has started runs on\n");
}

#[test]
fn the_end_alone_does_not_show_what_ansible_prints_itself() {
    let says = output(2, Stream::Stdout, None, false, b"PLAY RECAP ****\n");
    let why = of_step("no route to host");
    let records = [says, task_finished(2, Outcome::Failed, why, Some(2), Remains::Gone)];
    let end = |ansible: &[u32], all: bool| {
        let mut log = Log::new(look(false), Wanted { task: None, all });
        let first = started(false).to_line(1, Timestamp::UNIX_EPOCH);
        log.joins(1, &first, ansible.iter().copied().collect());
        text(&mut log, &records)
    };
    let shown = "Task 2 of 2 failed; exit code 2\n";
    assert_eq!(end(&[2], false), shown);
    assert_eq!(end(&[1], false), format!("  PLAY RECAP ****\n{shown}"));
    assert_eq!(end(&[2], true), format!("  PLAY RECAP ****\n{shown}"));
}

#[test]
fn ansible_speaks_for_itself_only_where_no_step_does() {
    let says = |bytes: &[u8]| output(2, Stream::Stdout, None, false, bytes);
    let failed = task_finished(
        2,
        Outcome::Failed,
        reason("playbook_invalid", "It does not parse."),
        Some(4),
        Remains::Gone,
    );
    let succeeded =
        task_finished(2, Outcome::Succeeded, reason("completed", "It did."), Some(0), Remains::Gone);
    let start = task_started(2, "vhost", "Write", "ansible", &["web1"]);
    let text =
        |all: bool, records: &[Record]| text(&mut Log::new(look(false), Wanted { task: None, all }), records);
    let quiet = text(false, &[start.clone(), says(b"PLAY [all]\n"), succeeded]);
    assert!(!quiet.contains("PLAY"), "{quiet}");
    let records =
        [start.clone(), says(&[b"x\n".repeat(HELD), b"no such module\n".to_vec()].concat()), failed.clone()];
    let loud = text(false, &records);
    assert!(loud.contains("\n  no such module\nTask 2 failed"), "{loud}");
    assert!(loud.len() < 3 * HELD);
    assert!(text(true, &records).len() > 3 * HELD);
    let told = step(StepStatus::Failed, "Reload Nginx", Some("because"));
    let told = text(false, &[start.clone(), says(b"fatal: because\n"), Record::Step(told), failed]);
    assert!(!told.contains("fatal") && told.contains("because"), "{told}");
    let mut debug = step(StepStatus::Ok, "What was seen", Some("177 bytes"));
    debug.action = "ansible.builtin.debug".to_owned();
    assert!(text(false, &[start, Record::Step(debug)]).contains("177 bytes"));
}

/// Output of a program that means harm.
fn hostile() -> impl Strategy<Value = String> {
    "(\\x1b[\\[\\]PX^_c(]|[\\x00-\\x1f\\x7f-\u{9f}\u{202a}-\u{202e}]|[0-9;:m\\\\]|\\PC){0,60}"
}

proptest! {
    #[test]
    fn whatever_a_transcript_holds_a_terminal_gets_text(text in hostile(), bytes in any::<Vec<u8>>()) {
        let mut log = Log::new(look(false), Wanted::default());
        let mut told = step(StepStatus::Failed, &text, Some(&text));
        told.item = Some(text.clone());
        told.host.clone_from(&text);
        told.diff = Some(json!({"before": "", "after": text, "after_header": text}));
        let records = [
            task_started(2, "vhost", &text, "shell", &["web1"]),
            output(2, Stream::Stdout, Some("web1"), false, text.as_bytes()),
            output(2, Stream::Stderr, None, false, &bytes),
            Record::Step(told),
            Record::Progress(Progress { task: 2, percent: 40, message: Some(text.clone()) }),
            task_finished(2, Outcome::Failed, reason("task_failed", &text), Some(2), Remains::Gone),
            finished(Outcome::Failed, reason("task_failed", &text)),
        ];
        let mut shown = self::text(&mut log, &records);
        shown.push_str(log.status().unwrap_or_default());
        shown.push_str(&log.record(1, &bytes));
        shown.push_str(&log.record(1, text.as_bytes()));
        shown.push_str(&log.end(&summary(State::Failed, reason("task_failed", &text))));
        prop_assert_eq!(clean(&shown, false), shown);
    }
}
