//! `cargo xtask containers`: the tests that need a Docker engine.

use std::path::Path;

use anyhow::bail;

use super::base::Debian;
use super::engine::{Compose, Engine};
use super::images::{self, Image};
use crate::{deps, test, workspace};

/// `cargo xtask containers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The cargo profile of the daemons in the images
    #[arg(long, default_value = "dev")]
    profile: String,
    /// What to hand to the test runner: a part of a test's name, or its options
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    runner: Vec<String>,
}

/// Builds the images and runs the tests on them.
///
/// # Errors
/// When there is no engine, an image can't be built, or a test fails.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let engine = Engine::find()?;
    Compose::find()?;
    deps::ensure(deps::For::Tests)?;
    images::build(&engine, &Image::ALL, Debian::Bookworm, &arguments.profile)?;
    workspace::cargo(&["build", "--workspace", "--bins"])?;
    clear_away(&engine)?;
    test::containers(&arguments.runner)?;
    // Whoever picks tests picks of those on containers.
    if arguments.runner.is_empty() {
        for (release, version) in [(Debian::Bookworm, "3.10."), (Debian::Trixie, "4.")] {
            let image = format!("{}:{}", Image::Rabbitmq.name(), release.name());
            let query = [
                "run",
                "--rm",
                "--entrypoint",
                "dpkg-query",
                &image,
                "-W",
                "-f",
                "${Version}",
                "rabbitmq-server",
            ];
            let found = engine.ask(&query)?;
            if !found.starts_with(version) {
                bail!(
                    "{image} has RabbitMQ {found}, not {version}: build it anew with `cargo xtask images rabbitmq`"
                );
            }
            println!("The journeys, with a broker of {image}: RabbitMQ {found}");
            test::journeys_with(&image)?;
        }
    }
    Ok(())
}

/// Removes what tests left behind that were killed: of the process that its name tells, nothing is there any more.
fn clear_away(engine: &Engine) -> anyhow::Result<()> {
    let of_dead = |name: &str| {
        let number = name.split(['-', '_']).find_map(|word| word.parse::<u32>().ok());
        number.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    };
    for (list, names, remove) in [
        (&["ps", "--all"][..], "{{.Names}}", &["rm", "--force", "--volumes"][..]),
        (&["network", "ls"], "{{.Name}}", &["network", "rm"]),
        (&["volume", "ls"], "{{.Name}}", &["volume", "rm"]),
    ] {
        let listed = engine.ask(&[list, &["--format", names]].concat())?;
        let ours = |name: &&str| name.starts_with("ddev-test-") || name.starts_with("aegir-test-");
        for name in listed.lines().filter(ours).filter(|name| of_dead(name)) {
            engine.ask(&[remove, &[name]].concat())?;
        }
    }
    Ok(())
}
