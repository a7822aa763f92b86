//! How long a new instance of a PHP site is given before it counts as broken: nobody is let in meanwhile. In the place of
//! php-fpm somebody answers as he is told.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::php_served::answer_as;

/// What is asked for may take this long, and what can't get better must not.
const PATIENCE: u64 = 200;
const AT_ONCE: Duration = Duration::from_secs(60);

/// Asks an instance whose answers come one after the other, the last one for ever; `log` is what PHP writes meanwhile.
fn probe(answers: &[&str], log: &str, statuses: &Value) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (file, text) = (at("php.log"), log.to_owned());
    let answers: Vec<_> = answers.iter().map(|&answer| answer.to_owned()).collect();
    let mut asked = 0;
    answer_as(UnixListener::bind(at("pool.sock")).unwrap(), move |_| {
        if !text.is_empty() {
            fs::write(&file, &text).unwrap();
        }
        asked += 1;
        answers[asked.min(answers.len()) - 1].clone()
    });
    let arguments = json!({
        "site": "example.test", "pool": at("pool.sock"), "instance": directory.path(), "log": at("php.log"), "seconds": PATIENCE,
        "statuses": statuses,
    });
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../roles/php_site");
    let begun = Instant::now();
    let asked = Command::new("ansible")
        .current_dir(directory.path())
        .args(["-i", "localhost,", "-c", "local", "localhost", "-m", "php_site_probe", "-a"])
        .arg(arguments.to_string())
        .env("ANSIBLE_LIBRARY", role.join("library"))
        .env("ANSIBLE_MODULE_UTILS", role.join("module_utils"))
        .env("ANSIBLE_NOCOLOR", "true")
        .output()
        .unwrap();
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    if asked.status.success() { Ok(said) } else { Err(said) }
}

#[test]
fn what_can_t_get_better_is_not_waited_for() {
    let fatal = "[now] PHP Fatal error:  Uncaught Exception: no in /x.php:1\n";
    let said = probe(&["Status: 500 Internal\r\n\r\n"], fatal, &json!([200])).unwrap_err();
    assert!(said.contains("status 500, not 200") && said.contains("Uncaught Exception"), "{said}");
    let said = probe(&["Status: 302 Found\r\n\r\n"], "", &json!([200])).unwrap_err();
    assert!(said.contains("status 302, not 200"), "{said}");
}

#[test]
fn a_start_that_takes_a_while_is_waited_for_and_a_redirect_may_be_what_is_expected() {
    let busy = "Status: 502 Bad\r\n\r\n";
    probe(&[busy, busy, busy, "Status: 500 No\r\n\r\n", "Status: 302 Found\r\n\r\n"], "", &json!([200, 302]))
        .unwrap();
}
