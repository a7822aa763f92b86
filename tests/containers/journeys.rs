//! A developer's day in the localdev.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::localdev::Localdev;

#[test]
fn a_role_that_is_edited_is_used_at_once() -> Result<()> {
    let localdev = Localdev::up()?;
    let manifest = localdev.roles().join("steady/meta/aegir.yml");
    let task_file = localdev.roles().join("steady/tasks/tell.yml");
    let before = std::fs::read_to_string(&task_file)?;
    localdev.exec("web", &["sh", "-c", "umask 077 && printf mellon > /tmp/word"])?;
    // What runs goes on with the role as it was: its second Task has not begun.
    let running = localdev.run_steady("edited", 100)?;
    localdev.until_it_has_begun(&running, "minion")?;
    std::fs::write(&task_file, before.replace("name: Use a secret", "name: Use it anew"))?;
    let text = std::fs::read_to_string(&manifest)?.replace("title: Use a secret", "title: Edited");
    std::fs::write(&manifest, text.replace("title: Count in a playbook,", "title: Edited,"))?;
    localdev
        .until("the edited role", || Ok(localdev.aegir(&["catalog"])?.contains("Edited").then_some(())))?;
    let log = |id: &str| {
        let ended = localdev.until_it_ends(id)?;
        ensure!(ended["outcome"] == "succeeded", "{ended:#}");
        localdev.aegir(&["log", id])
    };
    let said = log(&running)?;
    ensure!(
        said.contains("Use a secret") && !said.contains("Use it anew"),
        "the role changed under it: {said}"
    );
    let said = log(&localdev.run_steady("edited", 3)?)?;
    ensure!(said.contains("Use it anew"), "the edited role was not used: {said}");

    // One that does not check is left out and says why; the others go on.
    std::fs::write(&manifest, "schema: aegir.role/0\ntitle: [")?;
    localdev.until("the broken role's reason", || {
        let catalog = localdev.aegir(&["catalog"])?;
        Ok((catalog.contains("meta/aegir.yml") && catalog.contains("static_site.deploy")).then_some(()))
    })?;
    Ok(())
}

#[test]
fn what_is_canceled_ends_on_the_minion() -> Result<()> {
    let localdev = Localdev::up()?;
    for operation in ["steady.count", "steady.play"] {
        let id = localdev.submit(operation, "canceled", "minion", 3000)?;
        localdev.until_it_has_begun(&id, "minion")?;
        localdev.aegir(&["cancel", &id])?;
        let ended = localdev.until_it_ends(&id)?;
        ensure!(ended["outcome"] == "canceled", "{ended:#}");
        ensure!(localdev.of_attempts("minion")?.is_empty(), "something of it runs on");
    }
    Ok(())
}

/// As a module of a Drupal site asks, in the container that it runs in.
const PHP: &str = r#"
$token = trim(file_get_contents(getenv('AEGIR_TOKEN_FILE')));
$curl = curl_init('http://localhost/api/v1/operations');
curl_setopt_array($curl, [
    CURLOPT_UNIX_SOCKET_PATH => substr(getenv('AEGIR_URL'), strlen('unix:')),
    CURLOPT_RETURNTRANSFER => true,
    CURLOPT_POSTFIELDS => $argv[1],
    CURLOPT_HTTPHEADER => ["Authorization: Bearer $token", 'Content-Type: application/json', 'Idempotency-Key: php'],
]);
echo curl_exec($curl) ?: curl_error($curl);
"#;

#[test]
fn php_in_the_web_container_asks_by_the_socket() -> Result<()> {
    let localdev = Localdev::up()?;
    let host: Value = serde_json::from_str(&localdev.exec("web", &["cat", "/exchange/hosts/minion.json"])?)?;
    let request = serde_json::json!({
        "name": "steady.count",
        "target": {"kind": "site", "name": "php.example"},
        "hosts": host,
        "variables": {"operation": {"ticks": 3}},
    });
    let answer = localdev.exec("web", &["php", "-r", PHP, &request.to_string()])?;
    let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
    let id = answer["id"].as_str().with_context(|| format!("{answer:#}"))?;
    localdev.ran_once(id, "minion", 3).map(drop)
}
