//! Minions whose sshd or login is not as most are.

use std::path::{Path, PathBuf};

use aegir_attempt::plan::TaskAction;
use aegir_catalog::manifest::{Argument, RunsOn};
use aegir_protocol::record::{Remains, Stream};
use aegir_testkit::TestMinion;
use aegir_testkit::minion::MinionBuilder;
use dispatcherd::leftovers::end_leftovers;

use crate::case::{Case, Running, runs, unique_seconds};

/// A case with one minion that is made so.
async fn one(so: impl FnOnce(MinionBuilder, &Path) -> MinionBuilder) -> (Case, TestMinion) {
    let case = Case::new();
    let home = case.path("home");
    std::fs::create_dir(&home).unwrap();
    let minion = so(TestMinion::builder(&case.path("web1")), &home).start().await.unwrap();
    (case.minion("web1", &minion), minion)
}

/// One whose login has csh for its shell, and a `.cshrc` that prints on both streams, without an end of line.
async fn csh() -> Option<(Case, TestMinion)> {
    let tcsh = ["/bin/tcsh", "/usr/bin/tcsh"].into_iter().map(PathBuf::from).find(|path| path.exists());
    let Some(tcsh) = tcsh else {
        assert!(std::env::var_os("CI").is_none(), "there is no tcsh: install the package tcsh");
        eprintln!("SKIPPED: there is no tcsh: install the package tcsh");
        return None;
    };
    let prints = "echo hello\nsh -c 'echo oh >&2; printf \"there is \"'\n";
    let with = |builder: MinionBuilder, home: &Path| {
        std::fs::write(home.join(".cshrc"), prints).unwrap();
        builder.login_shell(&tcsh, home)
    };
    Some(one(with).await)
}

fn starts(case: Case, script: &str, seconds: &str) -> Running {
    let mut running = case.remote_script(script).start();
    running.until_printed("started");
    running.until("the sleep runs", |_| runs(seconds));
    running
}

#[tokio::test]
async fn a_cancel_ends_what_runs_where_sshd_allows_one_session() {
    let (case, _minion) = one(|builder, _| builder.setting("MaxSessions", "1")).await;
    let seconds = unique_seconds();
    let running = starts(case, &format!("echo started; sleep {seconds}; echo never"), &seconds);
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    assert!(!runs(&seconds), "it still runs");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"started\n");
}

#[tokio::test]
async fn a_later_attempt_starts_nothing_where_nobody_can_look() {
    // A minion without /proc/*/environ, as grep sees it: one that can't look for whole entries.
    let (mut case, _minion) = one(|builder, home| {
        let grep = home.join("grep");
        std::fs::write(&grep, "#!/bin/sh\nexit 2\n").unwrap();
        std::fs::set_permissions(&grep, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        builder.setting("SetEnv", &format!("PATH={}:/usr/bin:/bin", home.display()))
    })
    .await;
    case.operation.attempt = case.operation.attempt.next();
    case.plan.attempt = case.operation.attempt_id();
    let ended = case.remote_script("echo never").run().expect("failed", "attention_needed");
    assert!(
        ended.reason().contains("is not known, so nothing was started beside them"),
        "{}",
        ended.reason()
    );
    assert!(ended.printed_on(Some("web1"), Stream::Stdout).is_empty());
}

#[tokio::test]
async fn a_minion_that_gives_no_session_says_so() {
    let (case, _minion) = one(|builder, _| builder.setting("MaxSessions", "0")).await;
    let ended = case.remote_script("true").run().expect("failed", "login_refused");
    assert!(ended.reason().contains("raise MaxSessions"), "{}", ended.reason());
}

#[tokio::test]
async fn what_a_program_prints_and_is_given_is_true_behind_csh() {
    let Some((case, _minion)) = csh().await else { return };
    let script =
        "printf '%s' \"!x it's\n$HOME\" | tail -n 1 >/dev/null; printf 'a\\n!'; printf 'err' >&2; exit 3";
    let ended = case.remote_script(script).run().expect("failed", "task_failed");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stdout), b"a\n!");
    assert_eq!(ended.printed_on(Some("web1"), Stream::Stderr), b"err");
    assert_eq!(ended.exit().code, Some(3));
}

#[tokio::test]
async fn what_runs_behind_csh_is_ended_by_a_cancel_and_after_a_dead_runner() {
    let Some((case, _minion)) = csh().await else { return };
    let seconds = unique_seconds();
    let running = starts(case, &format!("echo started; sleep {seconds}"), &seconds);
    running.cancel();
    let ended = running.wait().expect("canceled", "canceled_by_request");
    assert_eq!(ended.task_finished().remote, Remains::Gone);
    assert!(!runs(&seconds), "it still runs");

    let Some((case, _minion)) = csh().await else { return };
    let mut running = starts(case, &format!("echo started; sleep {seconds}"), &seconds);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    let leftovers = end_leftovers(running.case.operation.attempt_id(), &running.case.directory()).await;
    assert_eq!(leftovers.to_string(), "nothing that it started is left on the node, web1");
    assert!(!runs(&seconds));
}

/// What of this attempt's secrets is in memory.
fn kept(case: &Case) -> Vec<PathBuf> {
    let name = format!("aegir-{}-", case.operation.id);
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.file_name().is_some_and(|of| of.to_string_lossy().starts_with(&name)))
        .collect()
}

fn with_secret(case: Case, script: &str) -> Case {
    let sealed = case.seal("correct horse\nbattery staple");
    let argv = ["sh", "-c", script].map(|word| Argument::Text(word.to_owned())).to_vec();
    case.task("run", TaskAction::Program { argv, on: RunsOn::Minions }, &[("password", sealed)])
}

#[tokio::test]
async fn a_program_on_a_minion_reads_its_secrets_and_nobody_else_does() {
    let Some((case, _minion)) = csh().await else { return };
    let script = "cat $AEGIR_SECRETS/password; echo; wc -c <$AEGIR_SECRETS/password; ls -l $AEGIR_SECRETS; \
                  env | grep -c horse; cat /proc/[0-9]*/cmdline 2>/dev/null | grep -ac 'correct [h]orse'; true";
    let ended = with_secret(case, script).run().expect("succeeded", "completed");
    let printed = String::from_utf8(ended.printed_on(Some("web1"), Stream::Stdout)).unwrap();
    assert!(printed.starts_with("********\n********\n28\n"), "{printed}");
    assert!(printed.contains("-rw-------") && printed.ends_with("\n0\n0\n"), "{printed}");
    assert!(kept(&ended.case).is_empty(), "{:?}", kept(&ended.case));
}

#[tokio::test]
async fn no_secret_stays_on_a_minion_after_a_dead_runner() {
    let (case, _minion) = one(|builder, _| builder).await;
    let seconds = unique_seconds();
    let script = format!("trap '' INT TERM; echo started; sleep {seconds}");
    let mut running = with_secret(case, &script).start();
    running.until("the sleep runs", |_| runs(&seconds));
    assert_eq!(kept(&running.case).len(), 1);
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    // The shell around it is killed with it, and can't remove them.
    let leftovers = end_leftovers(running.case.operation.attempt_id(), &running.case.directory()).await;
    assert_eq!(leftovers.to_string(), "nothing that it started is left on the node, web1");
    assert!(kept(&running.case).is_empty(), "{:?}", kept(&running.case));
    assert!(!runs(&seconds));
}
