//! `cargo xtask bench`: figures of this machine, now, from real daemons and a broker of their own.
//!
//! Everything is measured from outside, through the API that users have. Nothing here passes or fails: the
//! goals stand beside the figures.

mod broker_kill;
mod figure;
mod latency;
mod limits;
mod memory;
mod neighbour;
mod rate;
mod syncs;
mod system;
mod throughput;

use std::path::PathBuf;
use std::process::Command;

use crate::{deps, workspace};
use anyhow::Context as _;
use figure::Figure;

/// What to measure, and how much of it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// How many lines of 100 bytes one Task prints
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    lines: u64,
    /// For how long lines are printed at 200 a second, in seconds
    #[arg(long, value_name = "S", default_value_t = 20)]
    seconds: u64,
    /// How many Operations that do nothing are submitted
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    operations: usize,
}

/// What takes longer, and is measured by itself.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum Part {
    /// Kill the broker under a stream of lines, here and under Celery, and count what arrives
    BrokerKill,
}

/// Runs `cargo xtask bench`.
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
    match arguments.part {
        Some(Part::BrokerKill) => {
            return runtime.block_on(broker_kill::run(&scratch()?, &directory().join("broker-kill.json")));
        }
        None => {}
    }
    let figures = runtime.block_on(measure(arguments))?;
    for figure in &figures {
        let goal = figure.goal.map(|goal| format!("   (goal: {goal})")).unwrap_or_default();
        println!("{:<58} {:>12.2} {}{goal}", figure.name, figure.value, figure.unit);
    }
    let path = directory().join("latest.json");
    let text = serde_json::to_vec_pretty(&figures)?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

fn directory() -> PathBuf {
    workspace::target().join("bench")
}

/// An empty directory for all that runs.
fn scratch() -> anyhow::Result<PathBuf> {
    let scratch = directory().join("run");
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).with_context(|| format!("cannot empty {}", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    Ok(scratch)
}

async fn measure(arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let directory = scratch()?;
    let mut system = system::BenchSystem::start(&directory).await?;
    let mut figures = Vec::new();
    figures.extend(system.readiness());
    figures.extend(memory::idle(&mut system).await?);
    figures.extend(latency::measure(&system, arguments.seconds).await?);
    figures.extend(rate::measure(&system, arguments.operations).await?);
    figures.extend(syncs::measure(&mut system, &directory).await?);
    let (throughput, rate) = throughput::measure(&mut system, arguments.lines).await?;
    figures.extend(throughput);
    figures.extend(limits::measure(&system, &directory, arguments.lines, rate).await?);
    figures.extend(neighbour::measure(&system, arguments.seconds).await?);
    system.stop().await?;
    Ok(figures)
}
