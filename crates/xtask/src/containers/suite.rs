//! `cargo xtask containers`: the tests that need a Docker engine.

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
    let broker = |release: Debian| format!("{}:{}", Image::Rabbitmq.name(), release.name());
    test::on_containers(&arguments.runner, &[broker(Debian::Bookworm), broker(Debian::Trixie)])
}
