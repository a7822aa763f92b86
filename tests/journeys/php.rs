//! What the HTTP API's page shows: its program in PHP, run by PHP, and its commands, run by a shell.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aegir_protocol::state::State;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::pages::{Step, root, steps};
use crate::world::World;

/// How long a deploy and a restart of relayd may take together.
const DEADLINE: Duration = Duration::from_secs(120);

/// The program, with the addresses of this test's cluster in the place of those that the page shows.
fn program(world: &World, page: &str) -> Result<String> {
    let block = page.split("```php\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut program = block.context("the page shows no PHP")?.to_owned();
    let relayd = &world.cluster.relayd;
    let source = world.content("php.test", &[("index.html", "deployed by PHP")])?;
    let literal = |value: &Value| format!("json_decode('{value}')");
    for (shown, ours) in [
        ("http://127.0.0.1:7180", relayd.url()),
        ("/var/lib/aegir-relayd/api-token", relayd.token_file().display().to_string()),
        (
            "['name' => 'web1', 'address' => '192.0.2.7', 'services' => ['nginx' => new stdClass]]",
            literal(&world.cluster.host()),
        ),
        (
            "['site' => ['source' => '/srv/content/example']]",
            literal(&world.cluster.site_variables(Path::new(&source))),
        ),
    ] {
        ensure!(program.contains(shown), "the page's program does not hold {shown}");
        program = program.replace(shown, &ours);
    }
    Ok(program)
}

#[tokio::test]
async fn the_programs_of_the_http_apis_page_do_what_it_says() -> Result<()> {
    let mut world = World::start().await?;
    let page = std::fs::read_to_string(root().join("docs/reference/http-api.md"))?;
    let path = world.directory().join("deploy.php");
    std::fs::write(&path, program(&world, &page)?)?;
    let mut php = Command::new("php")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("php can't be started: install php-cli")?;
    let mut lines = BufReader::new(php.stdout.take().context("no output")?).lines();
    let mut printed = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await? {
            printed.push(line);
            if printed.len() == 2 {
                world.cluster.relayd.kill().await?;
                world.cluster.relayd.start_again().await?;
            }
        }
        anyhow::Ok(())
    };
    timeout(DEADLINE, read).await.context("it does not end")??;
    let status = timeout(DEADLINE, php.wait()).await.context("it does not end")??;
    ensure!(status.success(), "{status}: {printed:#?}");
    ensure!(printed.pop().as_deref() == Some("succeeded"), "{printed:#?}");

    let (_, list) = world.cluster.relayd.get("/api/v1/operations").await?;
    let id = list["operations"][0]["id"].as_str().context("there is no Operation")?;
    let transcript = world.client.text(id).await?;
    ensure!(printed == transcript.lines().collect::<Vec<_>>(), "printed {printed:#?} of {transcript}");
    ensure!(world.fetch("example.test", "/").await? == (200, b"deployed by PHP".to_vec()));
    type_the_commands(&world, &page).await?;
    world.stop().await
}

/// What is no 2xx and right here: what a command holds, and the status.
const REFUSED: &[(&str, &str)] = &[
    // It has ended by then, and was no dry run.
    ("/cancel\"", "409"),
    ("/retry\"", "409"),
    ("/lost\"", "409"),
    ("/approve\"", "409"),
    // Nothing was handed over, and nothing is dead.
    ("/documents/packages/refresh\"", "404"),
    ("/dead/17", "404"),
];

/// The commands of the page in their order, with this cluster's addresses, minion and site.
async fn type_the_commands(world: &World, page: &str) -> Result<()> {
    let relayd = &world.cluster.relayd;
    let source = world.content("shell.test", &[("index.html", "deployed by curl")])?;
    let (host, token) = (world.cluster.host(), relayd.token_file().display().to_string());
    let ours = [
        ("http://127.0.0.1:7180", relayd.url()),
        ("/var/lib/aegir-relayd/api-token", token),
        (r#"{ "name": "web1", "address": "192.0.2.7", "services": { "nginx": {} } }"#, host.to_string()),
        (r#"{"name": "web1", "address": "192.0.2.7"}"#, host.to_string()),
        (
            r#"{ "site": { "source": "/srv/content/example" } }"#,
            world.cluster.site_variables(Path::new(&source)).to_string(),
        ),
        ("3f0c…", "0".repeat(64)),
    ];
    let mut used = [false; 6];
    // The status of each answer goes to standard error.
    let mut before =
        "curl() { command curl --max-time 90 --write-out '%{stderr}%{http_code}\\n' \"$@\"; }\n".to_owned();
    for step in steps(page) {
        let Step::Run { mut command, .. } = step else { continue };
        for ((shown, ours), used) in ours.iter().zip(&mut used) {
            *used |= command.contains(shown);
            command = command.replace(shown, ours);
        }
        if !command.contains("curl ") {
            before = format!("{before}{command}\n");
            continue;
        }
        let run = Command::new("bash")
            .args(["-c", &format!("{before}{command}")])
            .current_dir(world.directory())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(DEADLINE, run).await.with_context(|| command.clone())??;
        let (body, statuses) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        let refused = REFUSED.iter().find(|(part, _)| command.contains(part)).map(|(_, status)| *status);
        let right = |status: &str| refused.map_or_else(|| status.starts_with('2'), |right| status == right);
        let all = !statuses.is_empty() && statuses.lines().all(right);
        ensure!(ran.status.success() && all, "{command}\n{}: {statuses}{body}", ran.status);
        if command.contains("Idempotency-Key") {
            let accepted: Value = serde_json::from_str(&body).context("no answer")?;
            let id = accepted["id"].as_str().context("no id")?;
            let ended = world.client.ended(id).await?;
            ensure!(ended.summary.state == State::Succeeded, "{:?}", ended.summary);
            before = format!("{before}id={id}\n");
        }
    }
    ensure!(used == [true; 6], "the page does not show all of what is replaced here: {used:?}");
    Ok(())
}
