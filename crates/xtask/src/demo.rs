//! The whole way once, on one machine: `cargo xtask demo`.
//!
//! Everything is real and everything lies below `target/demo/`: a RabbitMQ node, relayd, dispatcherd, an sshd that
//! plays the minion, and an nginx in user mode that serves what was deployed.

mod leftovers;
mod ports;
mod services;
mod walkthrough;

use std::fs;
use std::path::PathBuf;

use aegir_testkit::daemon::use_binaries;
use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::demo::leftovers::DemoDirectory;
use crate::demo::ports::Ports;
use crate::demo::services::DemoServices;
use crate::{deps, workspace};

/// The first port, unless somebody chooses another.
const PORT_BASE: u16 = 17180;

/// `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// End after the page was fetched
    #[arg(long)]
    once: bool,
    /// The first of the ports on 127.0.0.1 that it uses
    #[arg(long, value_name = "N", default_value_t = PORT_BASE, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    port_base: u16,
}

/// Runs the demo.
///
/// # Errors
/// When something is missing, does not start, or the page is not what was deployed.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    deps::ensure(deps::For::Daemons)?;
    let ports = Ports::from_base(arguments.port_base);
    let usual = usual_directory()?;
    leftovers::forget_killed(&usual);
    let directory = directory(usual, arguments.port_base)?;
    let stage = DemoDirectory::enter(&directory)?;
    ports.check(stage.had_leftovers())?;
    println!("Building relayd, dispatcherd and aegir");
    workspace::cargo(&["build", "--workspace", "--bins"])?;
    use_binaries(&workspace::target().join("debug"));
    let runtime = tokio::runtime::Runtime::new().context("can't start the runtime")?;
    runtime.block_on(perform(arguments.once, &stage, ports))
}

/// `target/demo`, made if need be. Sockets lie below it, whose paths can't be longer than 107 bytes.
fn usual_directory() -> anyhow::Result<PathBuf> {
    let directory = workspace::target().join("demo");
    fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
    directory.canonicalize().context("target/demo has no absolute path")
}

/// The directory of a demo with these ports: two with different ports can run side by side.
fn directory(usual: PathBuf, base: u16) -> anyhow::Result<PathBuf> {
    if base == PORT_BASE {
        return Ok(usual);
    }
    let directory = usual.join(base.to_string());
    fs::create_dir_all(&directory).with_context(|| format!("can't make {}", directory.display()))?;
    Ok(directory)
}

async fn perform(once: bool, stage: &DemoDirectory, ports: Ports) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't listen for SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("can't listen for SIGHUP")?;
    let asked_to_end = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    };
    tokio::pin!(asked_to_end);

    // What was started when a later part fails is dropped, and with it ended.
    let mut services = tokio::select! {
        services = DemoServices::start(stage, ports) => services?,
        () = &mut asked_to_end => bail!("stopped before everything was up"),
    };
    let result = tokio::select! {
        result = walk_through(&services, once) => result,
        () = &mut asked_to_end => Err(anyhow::anyhow!("stopped before the page was fetched")),
    };
    if result.is_ok() && !once {
        asked_to_end.await;
        println!();
    }
    services.stop().await;
    stage.leave();
    result
}

async fn walk_through(services: &DemoServices, once: bool) -> anyhow::Result<()> {
    walkthrough::run(services).await?;
    if once { Ok(()) } else { walkthrough::invite(services).await }
}
