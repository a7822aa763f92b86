//! `aegir dead`.

use clap::{Args, Subcommand};

/// `aegir dead`.
#[derive(Debug, Args)]
pub struct Dead {
    /// What to do with them.
    #[command(subcommand)]
    pub command: DeadCommand,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List dead letters, newest first
    Ls(DeadLs),
    /// Show a dead letter: why nobody could handle it, where it came from, and its body
    Show(DeadShow),
    /// Publish dead letters again, to where they came from
    Replay(DeadChoice),
    /// Delete dead letters
    Drop(DeadDrop),
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct DeadFilter {
    /// Only letters with this code, as in schema_too_new
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only letters from this queue, as in aegir.requests.main
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
}

/// `aegir dead ls`.
#[derive(Debug, Args)]
pub struct DeadLs {
    #[command(flatten)]
    pub filter: DeadFilter,
    /// How many to list
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
}

/// `aegir dead show`.
#[derive(Debug, Args)]
pub struct DeadShow {
    /// The letter's number, from `aegir dead ls`
    pub id: u64,
    /// Print only the body, byte for byte
    #[arg(long)]
    pub raw: bool,
}

/// Letters by their numbers, or all that fit a filter.
#[derive(Debug, Args)]
pub struct DeadChoice {
    /// The letters' numbers, from `aegir dead ls`
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<u64>,
    /// All letters, or all that match --code and --queue
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Which of all.
    #[command(flatten)]
    pub filter: DeadFilter,
}

/// `aegir dead drop`.
#[derive(Debug, Args)]
pub struct DeadDrop {
    #[command(flatten)]
    pub choice: DeadChoice,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
}
