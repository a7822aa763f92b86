//! Programs on minions, and everything that can be wrong with one: real sshds.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use aegir_attempt::plan::TaskAction;
use aegir_catalog::manifest::{Argument, RunsOn};
use aegir_protocol::operation::HostKey;
use aegir_protocol::record::{Remains, Stream};
use aegir_testkit::TestMinion;
use dispatcherd::leftovers::end_leftovers;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::case::{Case, end, runs, unique_seconds};

/// A case with one minion.
async fn one() -> (Case, TestMinion) {
    let case = Case::new();
    let minion = TestMinion::start(&case.path("web1")).await.unwrap();
    (case.minion("web1", &minion), minion)
}

#[tokio::test]
async fn a_program_on_a_minion_prints_and_ends_as_it_does() {
    let (case, _minion) = one().await;
    let script = r"printf 'a\000b\n\377 last'; printf 'err' >&2; exit 0";
    let ended = case.remote_script(script).run().expect("succeeded", "completed");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"a\0b\n\xff last");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stderr), b"err");
    assert_eq!(ended.exit().code, Some(0));
}

#[tokio::test]
async fn exit_codes_and_signals_of_a_minion_are_true() {
    for (script, code, signal) in [
        ("exit 3", Some(3), None),
        ("exit 127", Some(127), None),
        ("exit 255", Some(255), None),
        ("kill -KILL $$", None, Some(9)),
    ] {
        let (case, _minion) = one().await;
        let ended = case.remote_script(script).run().expect("failed", "task_failed");
        assert_eq!((ended.exit().code, ended.exit().signal), (code, signal), "{script}");
        assert!(ended.reason().contains("web1"), "{}", ended.reason());
    }
}

#[tokio::test]
async fn a_program_that_a_minion_lacks_says_so() {
    let (case, _minion) = one().await;
    let argv = vec![Argument::Text("no-such-program".to_owned())];
    let ended = case.task("run", TaskAction::Program { argv, on: RunsOn::Minions }, &[]).run();
    let ended = ended.expect("failed", "program_missing");
    assert!(ended.reason().contains("no-such-program") && ended.reason().contains("web1"));
}

#[tokio::test]
async fn values_arrive_on_a_minion_as_they_are() {
    let (case, _minion) = one().await;
    let text = "a b; $(id) `id` 'q' \"d\" \\ {{ lookup('pipe','id') }}\n-z é";
    let argv = vec![
        Argument::Text("printf".to_owned()),
        Argument::Text("[%s]".to_owned()),
        Argument::Variable("text".parse().unwrap()),
    ];
    let ended = case
        .task("run", TaskAction::Program { argv, on: RunsOn::Minions }, &[("text", json!(text))])
        .run()
        .expect("succeeded", "completed");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), format!("[{text}]").as_bytes());
}

#[tokio::test]
async fn several_minions_work_at_the_same_time() {
    let case = Case::new();
    let one = TestMinion::start(&case.path("web1")).await.unwrap();
    let other = TestMinion::start(&case.path("web2")).await.unwrap();
    // The second has its own key; authorize the first's, which the Operation logs in with.
    let key = std::fs::read(one.identity_file.with_extension("pub")).unwrap();
    std::fs::write(other.directory().join("authorized_keys"), key).unwrap();
    let case = case.minion("web2", &other).minion("web1", &one);
    let meet = case.path("meet");
    std::fs::create_dir(&meet).unwrap();
    // Each waits for the other.
    let script = format!(
        "mkfifo {0}/$$ && touch {0}/there.$$; n=0; while [ $(ls {0} | grep -c there) -lt 2 ]; do n=$((n+1)); \
         [ $n -lt 300 ] || exit 9; sleep 0.1; done; echo met",
        meet.display()
    );
    let ended = case.remote_script(&script).run().expect("succeeded", "completed");
    for host in ["web1", "web2"] {
        assert_eq!(ended.printed_on(Some(host), Stream::Stdout), b"met\n");
    }
}

#[tokio::test]
async fn canceling_ends_what_runs_on_the_minion() {
    let (case, _minion) = one().await;
    let seconds = unique_seconds();
    let script = format!("trap 'exit 7' INT TERM; sleep {seconds} & echo ready; wait");
    let mut running = case.remote_script(&script).start();
    running.until_printed("ready");
    running.until("the sleep runs", |_| runs(&seconds));
    let asked = Instant::now();
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    assert_eq!(ended.task_finished().exit.code, Some(7), "what it ended with is known");
    assert!(!runs(&seconds));
}

#[tokio::test]
async fn what_runs_on_behind_a_lost_connection_is_ended() {
    let (case, _minion) = one().await;
    let seconds = unique_seconds();
    let mut running = case.remote_script(&format!("echo ready; sleep {seconds}; echo never")).start();
    running.until_printed("ready");
    running.until("the sleep runs", |_| runs(&seconds));
    for client in children(running.child.id()) {
        kill_process(client, Signal::KILL).unwrap();
    }
    let ended = running.wait().expect("failed", "task_failed");
    assert!(ended.reason().contains("the connection ended before the program did"), "{}", ended.reason());
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    assert!(!runs(&seconds), "it still runs on the minion");
}

/// The processes that have this one as their parent.
fn children(parent: u32) -> Vec<Pid> {
    let is_child = |id: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: the state, then the parent.
        let rest = stat.rsplit(") ").next().unwrap_or_default();
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(is_child).filter_map(Pid::from_raw).collect()
}

#[tokio::test]
async fn what_a_program_leaves_on_a_minion_does_not_hold_the_task() {
    let (case, _minion) = one().await;
    let seconds = unique_seconds();
    let ended = case.remote_script(&format!("sleep {seconds} & echo done")).run();
    let ended = ended.expect("succeeded", "completed");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"done\n");
    assert!(!runs(&seconds));
    let expected =
        "every Task did what it should; task run: a process that it left behind was ended (minion web1)";
    assert_eq!(ended.reason(), expected);
}

#[tokio::test]
async fn what_a_program_is_to_leave_on_a_minion_lives_on_until_a_failure_or_a_later_attempt() {
    let (case, minion) = one().await;
    let seconds = unique_seconds();
    let script = |status: u8| {
        format!("sleep {seconds} & setsid sleep {seconds} >/dev/null 2>&1 & echo done; exit {status}")
    };
    // Neither what a later Task leaves behind nor a dead runner takes it along.
    let case = case
        .remote_script(&script(0))
        .leaves_processes()
        .remote_script("sleep 5000 & echo second; sleep 5000");
    let mut running = case.start();
    running.until_printed("second");
    assert!(runs(&seconds));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let leftovers = end_leftovers(running.case.operation.attempt_id(), &running.case.directory()).await;
    assert!(leftovers.nothing(), "{leftovers}");
    assert!(runs(&seconds), "what the finished Task left was ended with the dead runner's");
    // The next attempt does that Task again, so it ends what is there of it.
    let mut again = Case::new().minion("web1", &minion);
    again.operation.id = running.case.operation.id;
    again.operation.attempt = running.case.operation.attempt.next();
    again.plan.attempt = again.operation.attempt_id();
    let ended = again.remote_script("true").leaves_processes().run().expect("succeeded", "completed");
    assert!(
        ended.reason().contains("nothing that it has started runs on (minion web1)"),
        "{}",
        ended.reason()
    );
    assert!(!runs(&seconds));
    let case = Case::new().minion("web1", &minion).remote_script(&script(3)).leaves_processes();
    case.run().expect("failed", "task_failed");
    assert!(!runs(&seconds), "what a failed Task started runs on");
}

#[tokio::test]
async fn what_a_program_is_to_leave_on_one_minion_ends_when_it_fails_on_another() {
    let case = Case::new();
    let web = TestMinion::start(&case.path("web1")).await.unwrap();
    let old = TestMinion::start(&case.path("old")).await.unwrap();
    // Only one of them finds the program.
    let programs = case.path("programs");
    std::fs::create_dir(&programs).unwrap();
    let program = programs.join("begin-a-daemon");
    std::fs::write(&program, "#!/bin/sh\nsleep $1 >/dev/null 2>&1 &\n").unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let key = std::fs::read_to_string(web.identity_file.with_extension("pub")).unwrap();
    let command = format!("command=\"PATH={}:$PATH $SSH_ORIGINAL_COMMAND\"", programs.display());
    std::fs::write(web.directory().join("authorized_keys"), format!("{command} {key}")).unwrap();
    std::fs::write(old.directory().join("authorized_keys"), key).unwrap();
    let (alone, seconds) = (unique_seconds(), unique_seconds());
    let run = |seconds: &str| {
        let argv = ["begin-a-daemon", seconds].map(|word| Argument::Text(word.to_owned())).to_vec();
        TaskAction::Program { argv, on: RunsOn::Minions }
    };
    let one = Case::new().minion("web1", &web).task("run", run(&alone), &[]).leaves_processes();
    one.run().expect("succeeded", "completed");
    assert!(runs(&alone));
    end(&alone);
    let both = case.minion("old", &old).minion("web1", &web);
    let ended =
        both.task("run", run(&seconds), &[]).leaves_processes().run().expect("failed", "program_missing");
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    assert!(!runs(&seconds), "what the failed Task started on the other minion runs on");
}

#[tokio::test]
async fn what_a_dead_runner_leaves_on_a_minion_is_ended() {
    let (case, _minion) = one().await;
    let seconds = unique_seconds();
    let mut running = case.remote_script(&format!("sleep {seconds} & echo ready; wait")).start();
    running.until_printed("ready");
    running.until("the sleep runs", |_| runs(&seconds));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let leftovers = end_leftovers(running.case.operation.attempt_id(), &running.case.directory()).await;
    assert_eq!(leftovers.to_string(), "nothing that it started is left on the node, web1");
    assert!(!runs(&seconds));
}

#[tokio::test]
async fn a_later_attempt_first_ends_what_an_earlier_one_left() {
    let (mut case, minion) = one().await;
    let seconds = unique_seconds();
    let mut orphan = std::process::Command::new("sleep")
        .arg(&seconds)
        .env("AEGIR_ATTEMPT", format!("{}/1", case.operation.id))
        .spawn()
        .unwrap();
    case.operation.attempt = case.operation.attempt.next();
    case.plan.attempt = case.operation.attempt_id();
    case.remote_script("true").run().expect("succeeded", "completed");
    orphan.wait().unwrap();
    drop(minion);
}

#[tokio::test]
async fn one_connection_carries_everything() {
    let (case, minion) = one().await;
    let case = case.remote_script("echo one").remote_script("echo two").remote_script("echo three");
    let _ended = case.run().expect("succeeded", "completed");
    let log = std::fs::read_to_string(minion.log()).unwrap();
    assert_eq!(log.matches("Accepted publickey").count(), 1, "{log}");
}

#[tokio::test]
async fn a_host_key_that_nobody_trusted_is_refused() {
    let (mut case, minion) = one().await;
    case.operation.hosts[0].host_keys.clear();
    let ended = case.remote_script("echo never").run().expect("failed", "host_key_unknown");
    let expected = format!("dispatcherd minion add web1 --address 127.0.0.1 --port {}", minion.port);
    assert!(ended.reason().contains(&expected), "{}", ended.reason());
    assert!(ended.printed_on(Some("web1"), Stream::Stdout).is_empty());
}

#[tokio::test]
async fn a_host_key_that_an_operator_trusted_is_believed() {
    let (mut case, minion) = one().await;
    case.operation.hosts[0].host_keys.clear();
    std::fs::write(&case.plan.settings.known_hosts_file, minion.known_hosts_line()).unwrap();
    case.remote_script("true").run().expect("succeeded", "completed");
}

#[tokio::test]
async fn a_changed_host_key_is_refused() {
    let (mut case, minion) = one().await;
    let other = TestMinion::start(&case.path("other")).await.unwrap();
    // With the Operation: that one wins, although the operator trusts the true one.
    std::fs::write(&case.plan.settings.known_hosts_file, minion.known_hosts_line()).unwrap();
    case.operation.hosts[0].host_keys = vec![HostKey::try_from(other.host_key.clone()).unwrap()];
    let ended = case.remote_script("echo never").run().expect("failed", "host_key_changed");
    assert!(ended.reason().contains("host_keys"), "{}", ended.reason());
    // With the operator.
    let (mut case, minion) = one().await;
    case.operation.hosts[0].host_keys.clear();
    let line = format!("[127.0.0.1]:{} {}\n", minion.port, other.host_key);
    std::fs::write(&case.plan.settings.known_hosts_file, line).unwrap();
    let ended = case.remote_script("echo never").run().expect("failed", "host_key_changed");
    assert!(ended.reason().contains("dispatcherd minion add"), "{}", ended.reason());
}

#[tokio::test]
async fn a_refused_login_says_so() {
    let (case, minion) = one().await;
    std::fs::write(minion.directory().join("authorized_keys"), "").unwrap();
    let ended = case.remote_script("true").run().expect("failed", "login_refused");
    assert!(ended.reason().contains("authorized_keys"), "{}", ended.reason());
}

#[tokio::test]
async fn an_unreachable_minion_says_so() {
    let (case, mut minion) = one().await;
    minion.kill().await.unwrap();
    let ended = case.remote_script("true").run().expect("failed", "minion_unreachable");
    assert!(ended.reason().contains("dispatcherd minion verify web1"), "{}", ended.reason());
}

#[tokio::test]
async fn a_connection_that_is_dead_is_made_anew() {
    let (case, mut minion) = one().await;
    let port = minion.port;
    let path = case.path("gone");
    let script = format!("touch {0}; while [ -e {0} ]; do sleep 0.05; done", path.display());
    // The minion restarts between two Tasks; the socket of the old connection is in the way.
    let wait = path.clone();
    let mut running = case.script(&script).remote_script("echo back").start();
    running.until("the first Task runs", |_| wait.exists());
    minion.kill().await.unwrap();
    let _again = TestMinion::builder(minion.directory()).port(port).start().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let ended = running.wait().expect("succeeded", "completed");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"back\n");
}
