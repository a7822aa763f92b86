//! Programs beside dispatcherd.

use std::fs::File;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aegir_attempt::lock::locked;
use aegir_attempt::plan::TaskAction;
use aegir_catalog::manifest::{Argument, RunsOn};
use aegir_protocol::record::{Record, Remains, Stream};
use dispatcherd::leftovers::end_leftovers;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::case::{Case, end, runs, unique_seconds};

#[test]
fn what_a_child_prints_comes_back_byte_for_byte() {
    let ended = Case::new()
        .script(r"printf 'one\ntwo\000three\n\377\376 not utf-8\nlast'; printf 'err\n' >&2")
        .run()
        .expect("succeeded", "completed");
    assert_eq!(ended.printed(Stream::Stdout), b"one\ntwo\0three\n\xff\xfe not utf-8\nlast");
    assert_eq!(ended.text(Stream::Stderr), "err\n");
    assert_eq!(ended.exit().code, Some(0));
    let kinds: Vec<_> = ended.records.iter().map(Record::kind).filter(|kind| *kind != "output").collect();
    assert_eq!(kinds, ["started", "task_started", "task_finished", "finished"]);
}

#[test]
fn a_line_of_100_mb_comes_back_whole() {
    let script = "head -c 100000000 /dev/zero | tr '\\000' x; echo; echo end";
    let ended = Case::new().script(script).run().expect("succeeded", "completed");
    let printed = ended.printed(Stream::Stdout);
    assert_eq!(printed.len(), 100_000_005);
    assert!(printed[..100_000_000].iter().all(|&byte| byte == b'x'));
    assert!(printed.ends_with(b"\nend\n"));
}

#[test]
fn a_child_that_prints_nothing_and_one_that_fails_are_told_apart() {
    let ended = Case::new().program(&["true"]).run().expect("succeeded", "completed");
    assert!(ended.printed(Stream::Stdout).is_empty());
    let ended = Case::new()
        .script("echo it hurts >&2; exit 3")
        .script("echo never")
        .run()
        .expect("failed", "task_failed");
    assert_eq!(ended.exit().code, Some(3));
    assert!(ended.reason().contains("exit code 3: it hurts"), "{}", ended.reason());
    assert!(ended.printed(Stream::Stdout).is_empty(), "the second Task ran");
    let ended = Case::new().script("kill -USR1 $$").run().expect("failed", "task_failed");
    assert_eq!(ended.exit().signal, Some(10));
}

#[test]
fn a_program_that_is_not_there_says_so() {
    let ended = Case::new().program(&["no-such-program"]).run().expect("failed", "program_missing");
    assert!(ended.reason().contains("no-such-program"), "{}", ended.reason());
}

#[test]
fn values_are_single_words() {
    let text = "a b; $(id) `id` 'q' \"d\" \\ {{ x }}\n-z";
    let argv = vec![
        Argument::Text("printf".to_owned()),
        Argument::Text("[%s]".to_owned()),
        Argument::Variable("text".parse().unwrap()),
        Argument::Variable("number".parse().unwrap()),
        Argument::Variable("missing".parse().unwrap()),
    ];
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let variables = [("text", json!(text)), ("number", json!({ "a": [1, true] }))];
    let ended = Case::new().task("run", action, &variables).run().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), format!("[{text}][{{\"a\":[1,true]}}][]"));
}

#[test]
fn what_earlier_tasks_have_handed_over_is_a_word_too() {
    let declared = json!({ "missing": { "optional": true } });
    let done = json!({ "backup": { "path": "/a b" }, "name": "x y" });
    let case = Case::new().program(&["true"]).outputs(declared).done(done);
    let output = |name: &str| Argument::Output("run".parse().unwrap(), name.parse().unwrap());
    let argv = ["printf", "[%s]"].map(|word| Argument::Text(word.to_owned()));
    let argv = argv.into_iter().chain(["backup", "name", "missing"].map(output)).collect();
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let ended = case.task("show", action, &[]).run().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), "[{\"path\":\"/a b\"}][x y][]");

    let argv = vec![Argument::Text("echo".to_owned()), output("backup")];
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let case = Case::new().program(&["true"]).done(json!({}));
    let ended = case.task("show", action, &[]).run().expect("failed", "output_invalid");
    assert!(ended.reason().contains("needs backup of task run"), "{}", ended.reason());
}

#[test]
fn a_dry_run_says_what_it_would_run_and_runs_nothing() {
    for (dry_run, check) in [(true, false), (false, true)] {
        let case = Case::new();
        let made = case.path("made");
        let mut case = case.program(&["touch", made.to_str().unwrap()]);
        (case.operation.dry_run, case.operation.check) = (dry_run, check);
        let ended = case.run().expect("succeeded", "completed");
        assert!(!made.exists());
        assert_eq!(ended.steps()[0].name, format!("Would run touch {}", made.display()));
    }
}

#[test]
fn the_environment_is_cleared() {
    let mut running = Case::new();
    running = running.program(&["env"]);
    let ended = running.run().expect("succeeded", "completed");
    let printed = ended.text(Stream::Stdout);
    let mut names: Vec<_> = printed.lines().filter_map(|line| line.split('=').next()).collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["AEGIR_CHILD", "HOME", "LC_ALL", "PATH"]);
}

#[test]
fn a_task_and_an_operation_that_take_too_long_are_stopped() {
    let seconds = unique_seconds();
    let mut case = Case::new().program(&["sleep", &seconds]);
    case.plan.tasks[0].timeout_seconds = 1;
    let ended = case.run().expect("failed", "timed_out");
    assert!(ended.reason().contains("the Task took longer than the 1 s"), "{}", ended.reason());
    assert_eq!(ended.task_finished().local, Remains::Gone);
    let mut case = Case::new().program(&["sleep", &seconds]);
    case.operation.timeout_seconds = Some(1);
    let ended = case.run().expect("failed", "timed_out");
    assert!(ended.reason().contains("the Operation took longer than the 1 s"), "{}", ended.reason());
    assert!(!runs(&seconds));
}

#[test]
fn a_task_that_prints_nothing_for_too_long_is_stopped_and_one_that_prints_goes_on() {
    let mut case = Case::new().script("for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done; sleep 1000");
    case.plan.tasks[0].quiet_seconds = Some(2);
    let ended = case.run().expect("failed", "timed_out");
    assert!(ended.reason().contains("printed nothing for the 2 s"), "{}", ended.reason());
    assert_eq!(ended.text(Stream::Stdout), "1\n2\n3\n4\n5\n6\n");
}

#[test]
fn an_attempt_stops_itself_when_its_lease_is_over_and_not_while_it_is_renewed() {
    let sleep = unique_seconds();
    let script = format!("echo go; sleep {sleep}");
    let case = Case::new().script(&script).script("echo never").lease(3);
    let mut running = case.start();
    running.until_printed("go");
    let asked = aegir_attempt::lease::boot_time().milliseconds;
    running.case.renew(5);
    let ended = running.wait().expect("lost", "lease_expired");
    assert!(
        aegir_attempt::lease::boot_time().milliseconds >= asked + 5000,
        "it did not wait for the renewal"
    );
    assert_eq!(ended.text(Stream::Stdout), "go\n");
    assert!(!runs(&sleep), "the child goes on");
}

#[test]
fn an_attempt_whose_lease_is_over_begins_nothing() {
    let ended = Case::new().script("echo never").lease(0).run().expect("lost", "lease_expired");
    assert_eq!(ended.text(Stream::Stdout), "");
}

#[test]
fn canceling_ends_the_child_and_all_that_it_started() {
    let seconds = unique_seconds();
    let script = format!("sleep {seconds} & echo ready; wait");
    let mut running = Case::new().script(&script).script("echo never").start();
    running.until_printed("ready");
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert!(ended.reason().contains("canceled by tester"), "{}", ended.reason());
    assert_eq!((ended.task_finished().local, ended.task_finished().remote), (Remains::Gone, Remains::Gone));
    assert_eq!(ended.text(Stream::Stdout), "ready\n");
    assert!(!runs(&seconds));
}

#[test]
fn a_flood_of_output_delays_no_cancel() {
    let mut running = Case::new().script("exec yes flood").start();
    running.until_printed("flood");
    let asked = Instant::now();
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(ended.exit().signal, Some(2));
}

#[test]
fn more_output_than_allowed_stops_the_task() {
    let mut case = Case::new().script("exec yes 123456789");
    case.plan.settings.output_limit_bytes = 1_000_005;
    let ended = case.run().expect("failed", "output_limit");
    assert_eq!(ended.printed(Stream::Stdout).len(), 1_000_005);
    assert!(ended.reason().contains("limits.output_bytes"), "{}", ended.reason());
    let mut case = Case::new().script("printf 12345");
    case.plan.settings.output_limit_bytes = 5;
    case.run().expect("succeeded", "completed");
}

#[test]
fn a_secret_is_masked_and_gone_afterwards() {
    let case = Case::new();
    let sealed = case.seal("correct horse\nbattery staple");
    let argv = [
        "/bin/sh",
        "-c",
        "cat $AEGIR_SECRETS/password; echo; base64 $AEGIR_SECRETS/password; ls -l $AEGIR_SECRETS",
    ];
    let argv = argv.map(|word| Argument::Text(word.to_owned())).to_vec();
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let ended = case.task("run", action, &[("password", sealed)]).run().expect("succeeded", "completed");
    let printed = ended.text(Stream::Stdout);
    assert!(printed.starts_with("********\n********\n********"), "{printed}");
    assert!(printed.contains("-rw-------"), "{printed}");
    for word in ["correct", "horse", "battery", "staple"] {
        assert!(!ended.transcript().contains(word), "{word} shows");
    }
}

#[test]
fn a_secret_that_does_not_open_ends_the_attempt_before_any_task() {
    let case = Case::new().task(
        "run",
        TaskAction::Program { argv: vec![Argument::Text("true".to_owned())], on: RunsOn::Dispatcher },
        &[("password", json!({ "sealed": "AAAA" }))],
    );
    case.seal("makes the key");
    let ended = case.run().expect("failed", "secret_unopened");
    let kinds: Vec<_> = ended.records.iter().map(Record::kind).collect();
    assert_eq!(kinds, ["started", "finished"]);
    assert!(ended.reason().contains("password"), "{}", ended.reason());
}

#[test]
fn a_secret_is_no_argument() {
    let case = Case::new();
    let sealed = case.seal("correct horse");
    let argv = vec![Argument::Text("echo".to_owned()), Argument::Variable("password".parse().unwrap())];
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    case.task("run", action, &[("password", sealed)]).run().expect("failed", "not_allowed");
}

#[test]
fn what_a_child_leaves_behind_is_ended_and_said() {
    let seconds = unique_seconds();
    let script = format!("sleep {seconds} & echo done");
    let asked = Instant::now();
    let ended = Case::new().script(&script).run().expect("succeeded", "completed");
    assert!(asked.elapsed() < Duration::from_secs(20));
    let expected = "every Task did what it should; task run: a process that it left behind was ended";
    assert_eq!(ended.reason(), expected);
    assert_eq!(ended.text(Stream::Stdout), "done\n");
    assert!(!runs(&seconds));
    let script = format!("sleep {seconds} >/dev/null 2>&1 & echo done");
    Case::new().script(&script).run().expect("succeeded", "completed");
    assert!(!runs(&seconds));
}

#[test]
fn what_a_child_is_to_leave_lives_on_when_it_succeeds_and_only_then() {
    let seconds = unique_seconds();
    let script = |status: u8| {
        format!("sleep {seconds} & setsid sleep {seconds} >/dev/null 2>&1 & echo done; exit {status}")
    };
    // A later Task that leaves something behind takes nothing of it along.
    let case = Case::new().script(&script(0)).leaves_processes().script("sleep 5000 >/dev/null 2>&1 & true");
    let ended = case.run().expect("succeeded", "completed");
    assert!(
        ended.reason().contains("task run: what it has started runs on, as its manifest says"),
        "{}",
        ended.reason()
    );
    assert!(runs(&seconds));
    end(&seconds);
    let case = Case::new().script(&script(3)).leaves_processes();
    case.run().expect("failed", "task_failed");
    assert!(!runs(&seconds), "what a failed Task started runs on");
}

#[test]
fn signals_for_dispatcherd_do_not_reach_the_attempt() {
    let mut running = Case::new().script("echo ready; sleep 1; echo done").start();
    running.until_printed("ready");
    let pid = Pid::from_child(&running.child);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        kill_process(pid, signal).unwrap();
    }
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.text(Stream::Stdout), "ready\ndone\n");
}

/// As on a machine that is shut down: what its programs end with says nothing of the Task.
#[test]
fn a_task_that_ends_with_everything_else_has_no_end() {
    let ended = Case::new().script("kill -TERM $PPID $$; sleep 60").script("echo never").run();
    let kinds: Vec<_> = ended.records.iter().map(Record::kind).collect();
    assert_eq!(kinds, ["started", "task_started"]);
    assert!(ended.errors.contains("is the machine shut down?"), "{}", ended.errors);
}

#[test]
fn a_directory_has_one_runner_once() {
    let mut running = Case::new().script("echo ready; sleep 1").start();
    running.until_printed("ready");
    let second = running.case.command().output().unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("another runner"));
    let ended = running.wait().expect("succeeded", "completed");
    let third = ended.case.command().output().unwrap();
    assert!(!third.status.success());
    assert!(String::from_utf8_lossy(&third.stderr).contains("started before"));
    ended.expect("succeeded", "completed");
}

#[test]
fn whoever_looks_for_a_runner_does_not_keep_it_from_starting() {
    for _ in 0..10 {
        let case = Case::new();
        case.write();
        let lock = case.directory().lock();
        File::create(&lock).unwrap();
        let over = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    locked(&lock).unwrap();
                }
            });
            let ended = case.spawn().wait();
            over.store(true, Ordering::Relaxed);
            ended
        });
        ended.expect("succeeded", "completed");
    }
}

#[test]
fn without_tasks_it_starts_and_finishes() {
    let ended = Case::new().run().expect("succeeded", "completed");
    assert_eq!(ended.records.iter().map(Record::kind).collect::<Vec<_>>(), ["started", "finished"]);
}

#[tokio::test]
async fn what_a_dead_runner_leaves_can_be_found_and_ended() {
    let seconds = unique_seconds();
    let case = Case::new();
    let sealed = case.seal("correct horse");
    let argv = ["/bin/sh", "-c", &format!("sleep {seconds} & echo ready; wait")];
    let argv = argv.map(|word| Argument::Text(word.to_owned())).to_vec();
    let action = TaskAction::Program { argv, on: RunsOn::Dispatcher };
    let mut running = case.task("run", action, &[("password", sealed)]).start();
    running.until_printed("ready");
    running.until("the sleep runs", |_| runs(&seconds));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let leftovers = end_leftovers(running.case.operation.attempt_id(), &running.case.directory()).await;
    assert!(leftovers.nothing(), "{leftovers}");
    assert!(!runs(&seconds));
    let runtime = std::fs::read_dir(running.case.path("run")).unwrap();
    assert_eq!(runtime.count(), 0, "secrets are left");
}

#[test]
fn a_disk_that_refuses_for_good_fails_the_attempt_and_not_silently() {
    let case = Case::new().script("exec yes flood");
    let running = {
        case.write();
        // What the file system refuses, seen from the process: files end at half a mebibyte.
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "ulimit -f 1024; trap '' XFSZ; exec \"$@\"", "sh"]);
        command.arg(env!("CARGO_BIN_EXE_dispatcherd")).arg("runner").arg(case.directory().path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        crate::case::Running { child: command.spawn().unwrap(), case }
    };
    let ended = running.wait().expect("failed", "runner_failed");
    assert!(ended.reason().contains("can't write"), "{}", ended.reason());
}
