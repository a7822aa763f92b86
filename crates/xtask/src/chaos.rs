//! `cargo xtask chaos`: Operations of every kind under faults of every kind, and a check of what became of them.
//!
//! A seed is a schedule: a load and the faults that it meets. A schedule is played on daemons, a broker and a minion
//! of its own; when all faults are over and everything has ended, what users can see and what children left behind
//! is held against what was promised. Below `docs/reference/reliability.md` stands what was seen.

mod bug;
mod check;
mod clock;
mod disk;
mod evidence;
mod fault;
mod gather;
mod inject;
mod load;
mod order;
mod post;
mod printed;
mod schedule;
mod system;
mod table;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::{deps, workspace};
use bug::Bug;
use check::{Violation, check};
use clock::Time;
use fault::FaultKind;
use post::Post;
use schedule::Schedule;
use system::ChaosSystem;
use table::Table;

/// From so many schedules on, every cell of the table must have been struck.
const FULL_TABLE: u64 = 20;

/// Names a directory with daemons that are built already.
const BINARIES: &str = "AEGIR_BIN_DIR";

/// Which schedules to play.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seed of the first schedule
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many schedules; the next one's seed is one higher. From 20 on, as many again at most while there is a phase in
    /// which a kind of fault never struck
    #[arg(long, value_name = "K", default_value_t = 1)]
    schedules: u64,
    /// How many are played at the same time
    #[arg(long, value_name = "J", default_value_t = 1)]
    jobs: usize,
    /// How long faults strike in each
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// Builds a bug into a copy of relayd, and fails if no schedule finds it
    #[arg(long = "break", value_name = "BUG", value_parser = Bug::parse)]
    bug: Option<Bug>,
    /// Only print what would happen
    #[arg(long)]
    show: bool,
}

/// Runs `cargo xtask chaos`.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let disks = disk::can_mount();
    let kinds: Vec<FaultKind> =
        FaultKind::ALL.iter().copied().filter(|kind| disks || !kind.fills()).collect();
    let length = Duration::from_secs(arguments.seconds);
    let last = arguments.seed + arguments.schedules;
    let schedule = |seed| Schedule::generate(seed, length, &kinds);
    if arguments.show {
        (arguments.seed..last).for_each(|seed| print!("{}", schedule(seed)));
        return Ok(());
    }
    if !disks {
        println!(
            "!!! NO FULL DISKS: only root can mount a small file system. The schedules are others than root's."
        );
    }
    if std::env::var_os(BINARIES).is_none() {
        deps::ensure(deps::For::Daemons)?;
        aegir_testkit::daemon::use_binaries(&bug::build(arguments.bug.as_ref())?);
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    // A phase can be short, so that a fault has missed it by chance: then as many schedules again are played at most.
    let fills_the_table = arguments.bug.is_none() && arguments.schedules >= FULL_TABLE;
    let table = RefCell::new(Table::default());
    let goes_on = |seed: &u64| *seed < last || fills_the_table && !table.borrow().empty(&kinds).is_empty();
    let seeds = (arguments.seed..last + arguments.schedules).take_while(goes_on);
    let results = runtime.block_on(async {
        let played = futures_util::stream::iter(seeds).map(async |seed| {
            let played = play(&schedule(seed), disks).await;
            table.borrow_mut().add(&played.table);
            played
        });
        let all = played.buffer_unordered(arguments.jobs.max(1)).collect::<Vec<_>>();
        // Whoever is interrupted takes down what was started: runners and mounts would outlive this program.
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        tokio::select! {
            results = all => Ok(results),
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    judge(&results?, &table.into_inner(), &kinds, arguments)
}

/// What came of one schedule.
struct Played {
    seed: u64,
    table: Table,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// A promise was not kept.
    Broken,
    /// It could not be played to its end.
    Stopped,
}

fn judge(
    results: &[Played],
    table: &Table,
    kinds: &[FaultKind],
    arguments: &Arguments,
) -> anyhow::Result<()> {
    println!("\nOperations that were struck, by the fault and the phase that they were in:\n\n{table}");
    let failed: Vec<u64> =
        results.iter().filter(|played| played.verdict != Verdict::Passed).map(|played| played.seed).collect();
    println!("{} schedules played, {} failed", results.len(), failed.len());
    if let Some(bug) = &arguments.bug {
        match results.iter().find(|played| played.verdict == Verdict::Broken) {
            Some(played) => println!("{} was found, first by seed {}", bug.as_str(), played.seed),
            None => bail!("{} was not found", bug.as_str()),
        }
        return Ok(());
    }
    if !failed.is_empty() {
        for seed in &failed {
            println!("again: cargo xtask chaos --seed {seed} --schedules 1 --seconds {}", arguments.seconds);
        }
        bail!("the schedules of the seeds {failed:?} failed; see target/chaos/");
    }
    let empty = table.empty(kinds);
    if !empty.is_empty() && arguments.schedules >= FULL_TABLE {
        let cells: Vec<String> =
            empty.iter().map(|(kind, phase)| format!("{} while {}", kind.as_str(), phase.as_str())).collect();
        bail!("never struck: {}", cells.join(", "));
    }
    Ok(())
}

async fn play(schedule: &Schedule, disks: bool) -> Played {
    let directory = workspace::target().join("chaos").join(schedule.seed.to_string());
    let begin = Instant::now();
    let mut table = Table::default();
    let verdict = attempt(schedule, &directory, disks, &mut table).await;
    let verdict = match verdict {
        Ok((violations, operations)) if violations.is_empty() => {
            println!(
                "seed {}: {operations} Operations, all is well after {:?}",
                schedule.seed,
                begin.elapsed()
            );
            // What passed is not looked at again.
            let _ = fs::remove_dir_all(&directory);
            Verdict::Passed
        }
        Ok((violations, _)) => {
            println!("\n{schedule}");
            violations.iter().for_each(|violation| println!("{violation}"));
            Verdict::Broken
        }
        Err(error) => {
            println!("\n{schedule}\nseed {}: {error:#}", schedule.seed);
            Verdict::Stopped
        }
    };
    Played { seed: schedule.seed, table, verdict }
}

async fn attempt(
    schedule: &Schedule,
    directory: &Path,
    disks: bool,
    table: &mut Table,
) -> anyhow::Result<(Vec<Violation>, usize)> {
    clear(directory)?;
    let mut system = ChaosSystem::start(directory, disks).await?;
    let (frontend, host, program) = (system.frontend(), system.host(), system::program());
    let requests: Vec<_> = schedule
        .orders
        .iter()
        .map(|order| order.request(&program, &system.marks(order.number), &host))
        .collect();
    let post = Post::new(system.broker.url());
    let (begin, from) = (Instant::now(), Timestamp::now());
    let orders = schedule.orders.iter().zip(&requests);
    let load = join_all(orders.map(|(order, request)| load::place(order, request, &frontend, &post, begin)));
    let (placed, injected) = tokio::join!(load, inject::inject_faults(schedule, &mut system, begin));
    let injected = injected?;
    table.add(&injected.table);
    let timeline = injected.timeline.join("\n");
    fs::write(directory.join("timeline"), timeline).context("cannot write the timeline")?;
    let time = Time { from, to: Timestamp::now() };
    let evidence = gather::gather(schedule, time, placed, injected, &system).await?;
    let violations = check(&evidence);
    let operations = evidence.orders.iter().map(|seen| seen.stored.len()).sum();
    keep(&system, &violations)?;
    system.stop().await?;
    Ok((violations, operations))
}

fn clear(directory: &Path) -> anyhow::Result<()> {
    disk::release(directory);
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}

/// Copies the daemons' state out of file systems that go with the stage, if somebody is going to look at it.
fn keep(system: &ChaosSystem, violations: &[Violation]) -> anyhow::Result<()> {
    if violations.is_empty() || system.relayd_disk.is_none() {
        return Ok(());
    }
    let states: [PathBuf; 3] = [
        system.relayd.state_directory(),
        system.nodes[0].dispatcherd.state_directory(),
        system.nodes[1].dispatcherd.state_directory(),
    ];
    for state in states {
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg(&state).arg(state.with_file_name("state-kept"));
        workspace::run(copy)?;
    }
    Ok(())
}
