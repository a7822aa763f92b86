//! `cargo xtask containers`: the tests that need a Docker engine.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::base::Debian;
use super::engine::{Compose, Engine};
use super::images::{self, Compile, Image};
use crate::{deps, test, workspace};

/// `cargo xtask containers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The cargo profile of the daemons in the images
    #[arg(long, default_value = "dev")]
    profile: String,
    /// Also run what takes long and changes seldom, compile in the images as their readers do, and use both brokers
    #[arg(long)]
    full: bool,
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
    workspace::cargo(&["build", "--workspace", "--bins"])?;
    // The daemons that have just been built are those of the images, where the release is the same.
    let compile = if !arguments.full && arguments.profile == "dev" && Debian::here() == Some(Debian::Bookworm)
    {
        Compile::Here
    } else {
        Compile::InTheImage { profile: &arguments.profile }
    };
    images::build(&engine, &Image::ALL, Debian::Bookworm, compile)?;
    clear_away(&engine)?;
    test::containers(&arguments.runner, arguments.full)?;
    // Whoever picks tests picks of those on containers.
    if arguments.runner.is_empty() {
        let brokers: &[_] = if arguments.full {
            &[(Debian::Bookworm, "3.10."), (Debian::Trixie, "4.")]
        } else {
            // `cargo xtask test` uses 3.10, where it runs on Debian 12.
            &[(Debian::Trixie, "4.")]
        };
        for &(release, version) in brokers {
            journeys(&engine, release, version)?;
        }
    }
    Ok(())
}

/// Runs the journeys with the broker of a release of Debian.
fn journeys(engine: &Engine, release: Debian, version: &str) -> anyhow::Result<()> {
    let image = format!("{}:{}", Image::Rabbitmq.name(), release.name());
    let broker = Broker::start(engine, &image)?;
    let found = broker.version()?;
    if !found.starts_with(version) {
        bail!(
            "{image} has RabbitMQ {found}, not {version}: build it anew with `cargo xtask images rabbitmq`"
        );
    }
    println!("The journeys, with a broker of {image}: RabbitMQ {found}");
    test::journeys_with(&broker.url()?)
}

/// How long a broker may take until it is healthy.
const STARTUP: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A broker in a container for all journeys, removed when this is dropped.
struct Broker<'a> {
    engine: &'a Engine,
    name: String,
}

impl<'a> Broker<'a> {
    fn start(engine: &'a Engine, image: &str) -> anyhow::Result<Self> {
        let name = format!("aegir-test-{}-broker", std::process::id());
        // For this machine only; by default a port is published on every address.
        engine.ask(&["run", "--detach", "--name", &name, "--publish", "127.0.0.1::5672", image])?;
        let broker = Self { engine, name };
        let deadline = Instant::now() + STARTUP;
        while broker.inspect("{{.State.Health.Status}}")? != "healthy" {
            if Instant::now() > deadline {
                bail!(
                    "{image} is not healthy after {STARTUP:?}: {}",
                    engine.ask(&["logs", "--tail", "20", &broker.name])?
                );
            }
            sleep(LOOK_AGAIN);
        }
        Ok(broker)
    }

    fn inspect(&self, template: &str) -> anyhow::Result<String> {
        self.engine.ask(&["inspect", "--format", template, &self.name])
    }

    fn version(&self) -> anyhow::Result<String> {
        self.engine.ask(&["exec", &self.name, "dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"])
    }

    fn url(&self) -> anyhow::Result<String> {
        let password = self.engine.ask(&["exec", &self.name, "cat", "/exchange/broker-password"])?;
        let port = self.inspect("{{(index (index .NetworkSettings.Ports \"5672/tcp\") 0).HostPort}}")?;
        Ok(format!("amqp://aegir:{password}@127.0.0.1:{port}/%2f"))
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engine.ask(&["rm", "--force", "--volumes", &self.name]) {
            eprintln!("the container {} was not removed: {error:#}", self.name);
        }
    }
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
