//! The tutorial's commands work, and print what the page shows.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aegir_testkit::daemon::binary;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::world::World;

/// A command of a page, and what the page shows of its output: a line each, `…` for what varies.
#[derive(Debug, Default)]
struct Shown {
    command: String,
    output: Vec<String>,
}

fn commands(page: &str) -> Vec<Shown> {
    let blocks = page.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    let mut commands: Vec<Shown> = Vec::new();
    for line in blocks.flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push(Shown { command: command.to_owned(), ..Shown::default() }),
            (None, Some(shown)) => shown.output.push(line.to_owned()),
            (None, None) => {}
        }
    }
    commands
}

/// Whether the parts of a shown line follow each other in a line of the output.
fn appears(shown: &str, output: &str) -> bool {
    output.lines().any(|line| {
        let mut rest = line;
        shown.split('…').all(|part| match rest.find(part.trim()) {
            Some(at) => {
                rest = &rest[at + part.trim().len()..];
                true
            }
            None => false,
        })
    })
}

/// What `cargo xtask demo` leaves for the reader, made for this test's cluster.
fn set_the_scene(world: &World, directory: &Path) -> Result<()> {
    let relayd = &world.cluster.relayd;
    let aegir = binary("aegir")?;
    let programs = aegir.parent().context("aegir lies nowhere")?;
    let demo = directory.join("target/demo");
    std::fs::create_dir_all(demo.join("content"))?;
    let source = world.content("example.test", &[("index.html", "the first page")])?;
    std::os::unix::fs::symlink(&source, demo.join("content/example.test"))?;
    std::fs::write(
        demo.join("environment"),
        format!(
            "export AEGIR_URL={} AEGIR_TOKEN_FILE='{}' PATH='{}':\"$PATH\"\n",
            relayd.url(),
            relayd.token_file().display(),
            programs.display()
        ),
    )?;
    std::fs::write(demo.join("hosts.json"), json!([world.host()]).to_string())?;
    let variables = world.cluster.site_variables(Path::new(&source));
    std::fs::write(demo.join("site.json"), variables.to_string())?;
    Ok(())
}

#[tokio::test]
async fn the_tutorials_commands_do_what_it_says() -> Result<()> {
    let world = World::start().await?;
    let directory = world.directory().join("reader");
    set_the_scene(&world, &directory)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial/first-operation.md");
    let shown = commands(&std::fs::read_to_string(path)?);
    ensure!(shown.len() > 8, "only {} commands found", shown.len());
    for Shown { command, output } in shown.iter().filter(|shown| shown.command != "cargo xtask demo") {
        let run = Command::new("bash")
            .args(["-c", &format!("source target/demo/environment; {command}")])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(Duration::from_secs(90), run).await.with_context(|| command.clone())??;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "{command}: {}\n{printed}", ran.status);
        for line in output {
            ensure!(appears(line, &printed), "{command}: the page shows {line:?}, it printed\n{printed}");
        }
    }
    world.stop().await
}
