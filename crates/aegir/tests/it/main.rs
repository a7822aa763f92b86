//! The program as a person or a script meets it, without a relayd. One binary, because linking takes longer
//! than the tests.

mod follow;

use assert_cmd::Command;
use clap::CommandFactory as _;

fn aegir(arguments: &[&str]) -> (i32, String, String) {
    run(Command::new(env!("CARGO_BIN_EXE_aegir")), arguments)
}

fn run(mut command: Command, arguments: &[&str]) -> (i32, String, String) {
    for name in ["AEGIR_URL", "AEGIR_TOKEN_FILE"] {
        command.env_remove(name);
    }
    let output = command.env("USER", "kim").args(arguments).output().expect("aegir starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("aegir writes UTF-8");
    (output.status.code().expect("aegir ends by itself"), text(output.stdout), text(output.stderr))
}

#[test]
fn help_is_worth_reading() {
    for (name, arguments) in [
        ("help", vec!["--help"]),
        ("help_run", vec!["run", "--help"]),
        ("help_log", vec!["log", "--help"]),
        ("help_check", vec!["check", "--help"]),
    ] {
        let (code, text, _) = aegir(&arguments);
        assert_eq!(code, 0);
        insta::assert_snapshot!(name, text);
    }
}

#[test]
fn nobody_there_is_told_apart_from_a_wrong_command_line() {
    let token = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/token");
    // Port 1 is reserved, and nobody listens there.
    let away = ["--url", "http://127.0.0.1:1", "--token-file", token, "ls"];
    let (code, stdout, stderr) = aegir(&away);
    assert_eq!((code, stdout.as_str()), (10, ""), "{stderr}");
    assert!(stderr.contains("http://127.0.0.1:1") && stderr.contains("--url"), "{stderr}");

    let (code, stdout, _) = aegir(&[&away[..4], &["check"]].concat());
    assert_eq!(code, 10);
    assert!(stdout.starts_with("HOP\tVERDICT\tTIME\tMESSAGE\nrelayd API\tFAILED\t"), "{stdout}");

    let (code, _, stderr) = aegir(&["--url", "unix:/nonexistent/api.sock", "--token-file", token, "ls"]);
    assert_eq!(code, 10, "{stderr}");

    let (code, _, stderr) = aegir(&["--token-file", "/nonexistent/api-token", "ls"]);
    assert_eq!(code, 11);
    assert!(stderr.contains("/nonexistent/api-token") && stderr.contains("AEGIR_TOKEN_FILE"), "{stderr}");

    for wrong in [
        vec!["run", "static_site", "--target", "site:x"],
        vec!["run", "static_site.deploy", "--target", "x"],
        vec!["run", "static_site.deploy", "--target", "site:-x"],
        vec!["run", "static_site.deploy", "--target", "site:x", "--secret", "p=hunter22"],
        vec!["ls", "--state", "green"],
        vec!["--url", "127.0.0.1", "ls"],
        vec!["log"],
        vec!["dead", "replay"],
        vec!["dead", "replay", "--all", "17"],
        [&away[..4], &["dead", "replay", "17", "--code", "internal"]].concat(),
        // Nobody sits here who could be asked.
        [&away[..4], &["dead", "drop", "17"]].concat(),
    ] {
        let (code, _, stderr) = aegir(&wrong);
        assert_eq!(code, 2, "{wrong:?}: {stderr}");
    }
}

#[test]
fn what_is_missing_is_named_and_nothing_else() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegir"));
    command.env("AEGIR_URL", "http://127.0.0.1:1").env("AEGIR_TOKEN_FILE", "/nonexistent");
    let output = command.env("USER", "kim").arg("run").output().expect("aegir starts");
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @r"
    error: the following required arguments were not provided:
      --target <KIND:NAME>
      <ROLE.OPERATION>

      tip: for example: aegir run static_site.deploy --target site:example.test --hosts-file hosts.json --vars-file site.json --follow

    Usage: aegir run [OPTIONS] --target <KIND:NAME> <ROLE.OPERATION>

    For more information, try '--help'.
    ");
    let (code, _, stderr) = aegir(&["dead", "show"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("Usage: aegir dead show [OPTIONS] <ID>"), "{stderr}");
}

#[test]
fn with_json_errors_are_json_too() {
    let token = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/token");
    for (arguments, code, exit_code) in [
        (vec!["--json", "run"], "usage", 2),
        (vec!["ls", "--state", "green", "--json"], "usage", 2),
        (
            vec!["ls", "--json", "--url", "http://127.0.0.1:1", "--token-file", token],
            "relayd_unreachable",
            10,
        ),
        (vec!["nodes", "--json", "--token-file", "/nonexistent/api-token"], "token_refused", 11),
    ] {
        let (exit, stdout, stderr) = aegir(&arguments);
        assert_eq!((exit, stdout.as_str()), (exit_code, ""), "{arguments:?}: {stderr}");
        let document: serde_json::Value = serde_json::from_str(&stderr).expect("one document");
        assert_eq!((&document["code"], &document["exit_code"]), (&code.into(), &exit_code.into()));
        assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{stderr}");
    }
    // Help is none.
    let (code, stdout, _) = aegir(&["--json", "run", "--help"]);
    assert!(code == 0 && stdout.starts_with("Ask for an Operation"), "{stdout}");
}

#[test]
fn completions_need_no_relayd() {
    let (code, text, _) = aegir(&["completions", "bash"]);
    assert_eq!(code, 0);
    assert!(text.contains("sign-in"));
}

/// Compares the reference with the program.
#[test]
fn the_reference_names_every_command_option_and_exit_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/cli.md");
    let reference = std::fs::read_to_string(path).expect("docs/reference/cli.md is there");
    assert!(reference.contains(&aegir_service::exit::Exit::table()), "the table of exit codes is stale");
    let program = aegir::arguments::Cli::command();
    for command in program.get_subcommands() {
        let name = command.get_name();
        assert!(reference.contains(&format!("\n### aegir {name}")), "{name} has no section");
        let nested = command.get_subcommands().flat_map(clap::Command::get_arguments);
        for option in command.get_arguments().chain(nested).filter_map(clap::Arg::get_long) {
            assert!(reference.contains(&format!("`--{option}")), "--{option} of {name} is not explained");
        }
    }
}

#[test]
fn every_role_that_is_shipped_is_good() {
    let roles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../roles");
    // As dispatcherd would: ansible-lint, which has opinions, is not found there.
    let mut command = Command::new(env!("CARGO_BIN_EXE_aegir"));
    command.env("PATH", "");
    let (code, stdout, stderr) = run(command, &["role", "check", roles]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let roles: Vec<_> = std::fs::read_dir(roles).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for role in &roles {
        assert!(stdout.contains(&format!("/{}: good\n", role.to_string_lossy())), "{role:?}: {stdout}");
    }
    assert_eq!(stdout.lines().count(), roles.len(), "{stdout}");
}
