//! The tutorial's commands work, and print what the page shows.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aegir_testkit::{Cluster, demo};
use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::world::World;

/// What a page has its reader do.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Write a file: a block after a line that ends with the path in backticks and a colon.
    Write { path: String, text: String },
    /// Run a command, with what the page shows of its output: a line each, `…` for what varies.
    Run { command: String, output: Vec<String> },
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() {
                before = line;
            }
            continue;
        };
        let block: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let path = before.strip_suffix("`:").and_then(|before| before.rsplit('`').next());
        if let Some(path) = path {
            steps.push(Step::Write { path: path.to_owned(), text: block.join("\n") + "\n" });
        } else if language == "console" {
            for line in block {
                match (line.strip_prefix("$ "), steps.last_mut()) {
                    (Some(command), _) => {
                        steps.push(Step::Run { command: command.to_owned(), output: Vec::new() });
                    }
                    (None, Some(Step::Run { output, .. })) => output.push(line.to_owned()),
                    (None, _) => {}
                }
            }
        }
        before = "";
    }
    steps
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

/// The reader's clone, and what `cargo xtask demo` leaves in it, made for this test's cluster.
struct Reader {
    world: World,
    clone: TempDir,
}

impl Reader {
    async fn start() -> Result<Self> {
        let clone = tempfile::tempdir()?;
        let demo = clone.path().join("target/demo");
        std::fs::create_dir_all(demo.join("roles"))?;
        let (roles, plugin) = (demo.join("roles"), demo.join("runners/note.py"));
        let builder = Cluster::builder().dispatcherd(move |dispatcherd| {
            dispatcherd.roles(&roles).section(&format!("[runners.note]\ncommand = [{plugin:?}]"))
        });
        let reader = Self { world: World::of(builder).await?, clone };
        reader.set_the_scene(&demo)?;
        Ok(reader)
    }

    fn set_the_scene(&self, directory: &Path) -> Result<()> {
        let world = &self.world;
        std::fs::create_dir_all(directory.join("content"))?;
        let source = world.content("example.test", &[("index.html", "the first page")])?;
        symlink(&source, directory.join("content/example.test"))?;
        for directory in ["docs", "roles"] {
            let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
            symlink(ours, self.clone.path().join(directory))?;
        }
        std::fs::create_dir(directory.join("dispatcherd"))?;
        symlink(world.cluster.dispatcherd.config(), directory.join("dispatcherd/dispatcherd.toml"))?;
        let (host, variables) = (world.cluster.host(), world.cluster.site_variables(Path::new(&source)));
        demo::write(directory, &world.cluster.relayd, &world.cluster.nginx, &host, &variables)?;
        Ok(())
    }

    /// Does what a page says, but for starting and installing what is there.
    async fn follow(&self, page: &str) -> Result<()> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial").join(page);
        let steps = steps(&std::fs::read_to_string(path)?);
        ensure!(steps.len() > 8, "only {} steps found", steps.len());
        for step in &steps {
            match step {
                Step::Write { path, text } => {
                    let path = self.clone.path().join(path);
                    std::fs::create_dir_all(path.parent().context("a file without a directory")?)?;
                    std::fs::write(path, text)?;
                }
                Step::Run { command, .. }
                    if command.starts_with("cargo ") || command.starts_with("sudo ") => {}
                Step::Run { command, output } => self.run(command, output).await?,
            }
        }
        Ok(())
    }

    async fn run(&self, command: &str, output: &[String]) -> Result<()> {
        let run = Command::new("bash")
            .args(["-c", &format!("source target/demo/environment; {command}")])
            .current_dir(self.clone.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(Duration::from_secs(90), run).await.with_context(|| command.to_owned())??;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        ensure!(ran.status.success(), "{command}: {}\n{printed}", ran.status);
        for line in output {
            ensure!(appears(line, &printed), "{command}: the page shows {line:?}, it printed\n{printed}");
        }
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.world.stop().await
    }
}

#[tokio::test]
async fn the_first_tutorials_commands_do_what_it_says() -> Result<()> {
    let reader = Reader::start().await?;
    reader.follow("first-operation.md").await?;
    reader.stop().await
}

#[tokio::test]
async fn the_roles_of_the_tutorial_do_what_it_says() -> Result<()> {
    let reader = Reader::start().await?;
    reader.follow("roles.md").await?;
    reader.stop().await
}
