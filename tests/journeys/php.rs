//! The PHP program of the HTTP API's page, run by PHP.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::world::World;

/// How long a deploy and a restart of relayd may take together.
const DEADLINE: Duration = Duration::from_secs(120);

/// The program, with the addresses of this test's cluster in the place of those that the page shows.
fn program(world: &World) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/http-api.md");
    let page = std::fs::read_to_string(path)?;
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
async fn the_php_program_deploys_a_site_and_prints_each_record_once_through_a_restart() -> Result<()> {
    let mut world = World::start().await?;
    let path = world.directory().join("deploy.php");
    std::fs::write(&path, program(&world)?)?;
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
    world.stop().await
}
