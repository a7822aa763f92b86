//! `cargo xtask fuzz`: bad messages on every queue, with real daemons and a broker of their own.
//!
//! No daemon may end, memory must not grow with the count, every message must be handled or parked as a dead
//! letter, and afterwards an Operation goes through as ever. The seed decides every message.

mod corpus;
mod mutate;
mod round;
mod wire;

use std::process::Command;

use aegir_testkit::{Broker, Dispatcherd, Relayd};
use anyhow::Context as _;

use crate::random::Random;
use crate::{deps, workspace};
use corpus::FuzzTarget;
use round::FuzzSystem;

/// How much to send.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many messages for each queue
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    messages: usize,
    /// What decides the messages
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    const BINARIES: &str = "AEGIR_BIN_DIR";
    if std::env::var_os(BINARIES).is_none() {
        deps::ensure(deps::For::Daemons)?;
        workspace::cargo(&["build", "--release", "-p", "relayd", "-p", "dispatcherd"])?;
        // The test kit takes the daemons from there; a process can't change its own environment safely.
        let mut again =
            Command::new(std::env::current_exe().context("this program does not know where it is")?);
        again.args(std::env::args_os().skip(1)).env(BINARIES, workspace::target().join("release"));
        return workspace::run(again);
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    runtime.block_on(fuzz(arguments))
}

async fn fuzz(arguments: &Arguments) -> anyhow::Result<()> {
    let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
    let inside = |name: &str| directory.path().join(name);
    let broker = Broker::start(&inside("broker")).await?;
    let relayd = Relayd::start(&inside("relayd"), broker.url()).await?;
    let dispatcherd =
        Dispatcherd::builder(&inside("dispatcherd"), broker.url()).setting("slots = 8").start().await?;
    let mut system = FuzzSystem { broker, relayd, dispatcherd };
    system.operation_goes_through().await?;
    println!("queue         published  unreadable  dead letters  relayd MB  dispatcherd MB  seconds");
    for target in FuzzTarget::ALL {
        let mut random = Random::new(arguments.seed.wrapping_mul(31).wrapping_add(target as u64));
        let figures = system.round(target, arguments.messages, &mut random).await;
        let figures = figures.with_context(|| {
            format!(
                "{target:?}, seed {}; relayd's log ends:\n{}\ndispatcherd's log ends:\n{}",
                arguments.seed,
                system.relayd.log_tail(),
                system.dispatcherd.log_tail()
            )
        })?;
        println!("{figures}");
    }
    system.operation_goes_through().await?;
    println!(
        "No daemon ended, every message was handled or parked, and an Operation goes through as before."
    );
    system.stop().await
}
