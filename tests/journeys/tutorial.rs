//! The tutorial's commands work, and print what the page shows.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aegir_testkit::{Cluster, demo};
use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::pages::{Step, not_run, root, steps};
use crate::world::World;

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

    /// Does what a page says, but for what can't be done here.
    async fn follow(&self, page: &str) -> Result<()> {
        let steps = steps(&std::fs::read_to_string(root().join(page))?);
        ensure!(!steps.is_empty(), "{page} has no steps");
        for step in &steps {
            match step {
                Step::Write { path, text } => {
                    let path = self.clone.path().join(path);
                    std::fs::create_dir_all(path.parent().context("a file without a directory")?)?;
                    std::fs::write(path, text)?;
                }
                Step::Run { command, .. } if not_run(page, command).is_some() => {}
                Step::Run { command, output } => self.run(command, output).await?,
            }
        }
        Ok(())
    }

    async fn run(&self, command: &str, output: &[String]) -> Result<()> {
        let (status, printed) = self.types(command).await?;
        ensure!(status.success(), "{command}: {status}\n{printed}");
        for line in output {
            ensure!(appears(line, &printed), "{command}: the page shows {line:?}, it printed\n{printed}");
        }
        Ok(())
    }

    /// How a command ends, and what it prints.
    async fn types(&self, command: &str) -> Result<(ExitStatus, String)> {
        let run = Command::new("bash")
            .args(["-c", &format!("source target/demo/environment; {command}")])
            .current_dir(self.clone.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let ran = timeout(Duration::from_secs(90), run).await.with_context(|| command.to_owned())??;
        let printed =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        Ok((ran.status, printed))
    }

    /// The end of a log is what a newcomer looks at: it holds nothing of Ansible's own.
    async fn looks_at_the_end(&self) -> Result<()> {
        let (_, end) = self.types("aegir log latest --tail 3").await?;
        let lines: Vec<_> = end.lines().filter(|line| !line.is_empty()).collect();
        ensure!(matches!(lines[..], [task, _] if task.starts_with("Task 1 of 1 ")), "it shows\n{end}");
        Ok(())
    }

    /// A deploy that fails says why once.
    async fn makes_a_mistake(&self) -> Result<()> {
        let content = self.clone.path().join("target/demo/content/example.test").canonicalize()?;
        let command = format!(
            "aegir run static_site.deploy --target site:example.test --hosts-file target/demo/hosts.json \
             --vars-file target/demo/site.json --var source={}.nowhere --follow",
            content.display()
        );
        let (status, printed) = self.types(&command).await?;
        ensure!(status.code() == Some(1), "{status}\n{printed}");
        let times = printed.matches(".nowhere").count();
        let ansibles = ["RECAP", "fatal:", "NO MORE HOSTS"].iter().any(|own| printed.contains(own));
        ensure!(times == 1 && !ansibles, "it says why {times} times\n{printed}");
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.world.stop().await
    }
}

#[tokio::test]
async fn the_first_tutorials_commands_do_what_it_says() -> Result<()> {
    let reader = Reader::start().await?;
    reader.follow("docs/tutorial/first-operation.md").await?;
    reader.looks_at_the_end().await?;
    reader.makes_a_mistake().await?;
    reader.stop().await
}

#[tokio::test]
async fn the_roles_of_the_tutorial_do_what_it_says() -> Result<()> {
    let reader = Reader::start().await?;
    reader.follow("docs/tutorial/roles.md").await?;
    reader.follow("docs/howto/write-a-runner.md").await?;
    reader.stop().await
}
