//! The repository's chores: `cargo xtask --help`.

mod bench;
mod chaos;
mod containers;
mod demo;
mod deps;
mod fuzz;
mod random;
mod schema;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deploy a site through real daemons, a real broker, sshd and nginx, all below target/demo/
    Demo(demo::Arguments),
    /// Install what is missing and run every test
    Test(test::Arguments),
    /// Measure rates, latencies and memory of real daemons
    Bench(bench::Arguments),
    /// Play schedules of faults over a load of Operations, and check what became of it
    Chaos(chaos::Arguments),
    /// Send bad messages on every queue to real daemons, and count what becomes of them
    Fuzz(fuzz::Arguments),
    /// Build the container images of relayd, dispatcherd, RabbitMQ and a minion
    Images(containers::images::Arguments),
    /// Bring up relayd, dispatcherd, RabbitMQ and a minion in containers, as the DDEV add-on does
    Localdev(containers::localdev::Arguments),
    /// Build the images and run the tests that need a Docker engine
    Containers(containers::suite::Arguments),
    /// Say which programs demo and tests need, and install what is missing
    Deps,
    /// Write the JSON Schemas of every format into docs/reference/schema/
    Schema(schema::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Chaos(arguments) => chaos::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Images(arguments) => containers::images::run(&arguments),
        Command::Localdev(arguments) => containers::localdev::run(&arguments),
        Command::Containers(arguments) => containers::suite::run(&arguments),
        Command::Deps => deps::ensure(deps::For::Tests),
        Command::Schema(arguments) => schema::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The chain of causes and no backtrace: what went wrong went wrong in another program.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
