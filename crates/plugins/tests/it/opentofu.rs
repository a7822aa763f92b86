//! The runner `opentofu`. Which program a test has stands in its name: see `aegir_testkit::opentofu`.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use aegir_catalog::runner::Line;
use aegir_testkit::opentofu::{real, recorded, role};
use rustix::process::Signal;
use serde_json::json;

use super::SECRET;
use super::runner::{Ran, Runner};

pub(crate) fn runner(program: &str, states: &Path) -> Runner {
    let options = ["opentofu", "--program", program, "--state-directory", states.to_str().unwrap()];
    Runner {
        options: options.map(str::to_owned).to_vec(),
        role_directory: role(),
        settings: json!({"directory": "files/infra", "variables": {"name": {"target": "name"}},
            "outputs": ["address"], "secret_outputs": ["password"]}),
        variables: json!({"greeting": "hello", "password": SECRET, "seconds": 0}),
        task: "run",
        target: "example.test",
        ..Runner::default()
    }
}

/// Secrets go to later Tasks, sealed by dispatcherd, and nowhere else.
fn assert_only_documents(ran: Ran) {
    assert_eq!(ran.document("password"), Some(&json!(SECRET)));
    let lines = ran.lines.into_iter().filter(|line| !matches!(line, Line::Document { .. })).collect();
    Ran { lines, ..ran }.assert_hides(&[SECRET]);
}

fn is_planned_applied_changed_and_deleted(program: &str) {
    let states = tempfile::tempdir().unwrap();
    let mut runner = runner(program, states.path());
    let files = || walk(states.path());

    let plan = runner.run("plan").assert_good();
    assert_eq!(plan.changed(), ["create terraform_data.name", "create terraform_data.site"]);
    let (first, changes) = plan.plan();
    assert_eq!(
        changes,
        json!([
            {"address": "terraform_data.name", "type": "terraform_data", "actions": ["create"],
                "attributes": ["id", "input", "output"]},
            {"address": "terraform_data.site", "type": "terraform_data", "actions": ["create"],
                "attributes": ["id", "input", "output"]},
        ])
    );
    let after = plan.diff("create terraform_data.site")["after"].as_str().unwrap();
    assert!(after.contains("greeting: hello") && after.contains("password: '********'"), "{after}");
    plan.assert_hides(&[SECRET]);
    assert_eq!((runner.run("plan").assert_good().plan().0, files()), (first.clone(), vec![]));
    // Of what the configuration doesn't declare nobody says that it is secret, so the hash must not tell it.
    runner.variables["token"] = json!("of-nobody");
    assert_eq!(runner.run("plan").assert_good().plan().0, first);
    runner.variables.as_object_mut().unwrap().remove("token");

    runner.approved = Some(first);
    runner.variables["greeting"] = json!("good day");
    assert!(runner.run("apply").failure().starts_with("plan_changed: "));
    assert_eq!(files(), Vec::<String>::new());
    runner.variables["greeting"] = json!("hello");
    let applied = runner.run("apply").assert_good();
    assert_eq!(applied.changed().len(), 2);
    assert_eq!(applied.document("address"), Some(&json!("https://example.test/")));
    assert_only_documents(applied);
    // It was made for what was there before.
    assert!(runner.run("apply").failure().starts_with("plan_changed: "));
    runner.approved = None;

    let again = runner.run("apply").assert_good();
    assert_eq!((again.changed(), again.document("address").is_some()), (vec![], true));
    assert_eq!(runner.run("plan").assert_good().plan().1, json!([]));

    runner.variables["greeting"] = json!("good day");
    let plan = runner.run("plan").assert_good();
    assert_eq!(plan.changed(), ["update terraform_data.site"]);
    let diff = plan.diff("update terraform_data.site");
    assert!(diff["before"].as_str().unwrap().contains("hello"), "{diff}");
    assert!(diff["after"].as_str().unwrap().contains("good day"), "{diff}");
    plan.assert_hides(&[SECRET]);
    runner.run("apply").assert_good();

    runner.deletes = true;
    let plan = runner.run("plan").assert_good();
    assert_eq!(plan.changed(), ["delete terraform_data.name", "delete terraform_data.site"]);
    runner.approved = Some(plan.plan().0);
    assert_eq!(runner.run("delete").assert_good().changed(), plan.changed());
    // The state held secrets.
    assert_eq!(files(), Vec::<String>::new());
    runner.approved = None;
    assert_eq!(runner.run("delete").assert_good().changed(), Vec::<&str>::new());
    runner.run("cancel").assert_good();
}

fn targets_have_states_of_their_own(program: &str) {
    let states = tempfile::tempdir().unwrap();
    let mut runners = ["example.test", "other.test", "third.test"].map(|target| {
        let mut runner = runner(program, states.path());
        runner.target = target;
        runner
    });
    for runner in &runners {
        assert_eq!(runner.run("apply").assert_good().changed().len(), 2);
    }
    assert_eq!(walk(states.path()).len(), 3);
    runners[0].deletes = true;
    assert_eq!(runners[0].run("delete").assert_good().changed().len(), 2);
    for runner in &runners[1..] {
        assert_eq!(runner.run("apply").assert_good().changed(), Vec::<&str>::new());
    }
}

#[test]
fn targets_have_states_of_their_own_with_recorded_answers() {
    targets_have_states_of_their_own(&recorded());
}

#[test]
fn targets_have_states_of_their_own_with_the_real_program() {
    if let Some(program) = real() {
        targets_have_states_of_their_own(&program);
    }
}

#[test]
fn a_state_that_could_not_be_written_is_brought_to_safety() {
    let states = tempfile::tempdir().unwrap();
    let mut runner = runner(&recorded(), states.path());
    runner.variables["greeting"] = json!("unwritten");
    let failed = runner.run("apply");
    failed.assert_hides(&[SECRET]);
    let [name] = walk(states.path()).try_into().unwrap();
    assert!(name.contains(".errored-") && name.ends_with("-1.tfstate"), "{name}");
    let path = states.path().join(name);
    let shown = path.to_str().unwrap();
    for words in ["attention_needed: ", "Failed to save state", shown, "`tofu show ", "Otherwise remove it"] {
        assert!(failed.failure().contains(words), "{words}: {}", failed.failure());
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&path).unwrap().contains(SECRET));
    runner.run("cancel").assert_good();

    // Whatever is asked for next, it would work on a state that does not know what was made.
    for (verb, deletes) in [("apply", false), ("plan", false), ("plan", true), ("delete", true)] {
        runner.deletes = deletes;
        let refused = runner.run(verb);
        for words in ["attention_needed: ", shown, "Otherwise remove it"] {
            assert!(refused.failure().contains(words), "{words}: {}", refused.failure());
        }
        assert!(!refused.stdout.contains("Failed") && walk(states.path()).len() == 1, "{refused:#?}");
    }
    runner.deletes = false;
    // Another target has nothing to do with it.
    let other = Runner { target: "example.te", ..self::runner(&recorded(), states.path()) };
    assert_eq!(other.run("plan").assert_good().changed().len(), 2);

    // As it says.
    let command = failed.failure().split('`').find(|part| part.starts_with("install ")).unwrap();
    assert!(Command::new("sh").args(["-c", command]).status().unwrap().success());
    assert_eq!(walk(states.path()), ["terraform.tfstate"]);
    assert_eq!(runner.run("plan").assert_good().plan().1, json!([]));
}

/// A role whose configuration names a backend, which keeps states in a directory.
fn with_backend(states: &Path) -> (tempfile::TempDir, Runner) {
    let role = tempfile::tempdir().unwrap();
    let files = role.path().join("files/infra");
    std::fs::create_dir_all(&files).unwrap();
    std::fs::copy(aegir_testkit::opentofu::role().join("files/infra/main.tf"), files.join("main.tf"))
        .unwrap();
    let backend = format!("terraform {{\n  backend \"recorded\" {{\n    path = {states:?}\n  }}\n}}\n");
    std::fs::write(files.join("backend.tf"), backend).unwrap();
    let mut runner = runner(&recorded(), states);
    runner.options.truncate(3);
    runner.role_directory = role.path().to_owned();
    (role, runner)
}

#[test]
fn a_state_is_written_once_more_where_the_role_names_a_backend() {
    let states = tempfile::tempdir().unwrap();
    let (_role, mut runner) = with_backend(states.path());
    runner.variables["greeting"] = json!("unwritten");
    let failed = runner.run("apply");
    assert!(failed.failure().contains("but was afterwards"), "{}", failed.failure());
    assert_eq!(walk(states.path()), ["terraform.tfstate"]);
    assert_eq!(runner.run("plan").assert_good().plan().1, json!([]));
}

#[test]
fn a_state_that_its_backend_does_not_take_is_kept_at_home() {
    let (states, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_role, mut runner) = with_backend(states.path());
    runner.home = Some(home.path().to_owned());
    runner.variables["greeting"] = json!("unwritten for good");
    let failed = runner.run("apply");
    failed.assert_hides(&[SECRET]);
    let [name] = walk(home.path()).try_into().unwrap();
    let path = home.path().join(".aegir-runner").join(name);
    let shown = path.to_str().unwrap();
    for words in ["attention_needed: ", "Failed to save state", shown, " tofu state push "] {
        assert!(failed.failure().contains(words), "{words}: {}", failed.failure());
    }
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let refused = runner.run("plan");
    assert!(
        refused.failure().contains("attention_needed: ") && refused.failure().contains(shown),
        "{refused:#?}"
    );
    std::fs::remove_file(path).unwrap();
    assert_eq!(runner.run("plan").assert_good().changed().len(), 2);
}

#[test]
fn a_state_that_can_be_kept_nowhere_is_told_loudly() {
    let (states, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_role, mut runner) = with_backend(states.path());
    // There is nothing, and nothing can be made.
    symlink("/proc/none", home.path().join(".aegir-runner")).unwrap();
    runner.home = Some(home.path().to_owned());
    runner.variables["greeting"] = json!("unwritten for good");
    // It has to stay where it is, and the tests look for the secret there.
    runner.variables["password"] = json!("of-no-interest");
    let failed = runner.run("apply");
    for words in ["attention_needed: ", "THE STATE IS LOST", "/.aegir-runner/"] {
        assert!(failed.failure().contains(words), "{words}: {}", failed.failure());
    }
}

/// All files below a directory.
fn walk(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn a_configuration_goes_all_the_way_with_recorded_answers() {
    is_planned_applied_changed_and_deleted(&recorded());
}

#[test]
fn a_configuration_goes_all_the_way_with_the_real_program() {
    if let Some(program) = real() {
        is_planned_applied_changed_and_deleted(&program);
    }
}

#[test]
fn the_real_program_ends_in_good_order_when_it_is_canceled() {
    let Some(program) = real() else { return };
    let states = tempfile::tempdir().unwrap();
    let mut runner = runner(&program, states.path());
    runner.variables["seconds"] = json!(60);
    let ran = runner.run_until("apply", |printed| printed.contains("name: Provisioning"), Signal::INT);
    assert!(ran.failure().contains("canceled"), "{ran:#?}");
    // It has written down what it made, and holds nothing locked.
    assert!(
        ran.stdout.contains("Interrupt received") || ran.stderr.contains("Interrupt received"),
        "{ran:#?}"
    );
    runner.run("cancel").assert_good();
    runner.variables["seconds"] = json!(0);
    runner.run("apply").assert_good();
}

#[test]
fn nobody_knows_what_goes_on_after_a_program_was_killed_at_work() {
    let states = tempfile::tempdir().unwrap();
    let mut runner = runner(&recorded(), states.path());
    runner.variables["seconds"] = json!(60);
    let noted = |_: &str| {
        let mut files = std::fs::read_dir(states.path()).unwrap().map(|entry| entry.unwrap().path());
        files.any(|path| {
            path.extension().is_some_and(|end| end == "running") && path.metadata().unwrap().len() > 0
        })
    };
    let ran = runner.run_until("apply", noted, Signal::KILL);
    assert_eq!(ran.code, None);
    let unknown = runner.run("cancel");
    assert!(unknown.failure().contains("was killed at work"), "{unknown:#?}");
    runner.variables["seconds"] = json!(0);
    runner.run("apply").assert_good();
    runner.run("cancel").assert_good();
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let states = tempfile::tempdir().unwrap();
    let told = |runner: &Runner, words: &[&str]| {
        let failed = runner.run("apply");
        for words in words {
            assert!(failed.failure().contains(words), "{words}: {}", failed.failure());
        }
    };
    let good = || runner(&recorded(), states.path());
    told(&runner("no-such-tofu", states.path()), &["can't find the program \"no-such-tofu\"", "--program"]);
    let mut wrong = good();
    wrong.options.truncate(3);
    wrong.options.push("--lock-timeout=1".to_owned());
    told(&wrong, &["name a backend in it", "--state-directory"]);
    let mut wrong = good();
    wrong.settings["outputs"] = json!(["password"]);
    told(&wrong, &["calls the output password sensitive"]);
    let mut wrong = good();
    wrong.settings["outputs"] = json!(["nothing"]);
    told(&wrong, &["has no output nothing"]);
}
