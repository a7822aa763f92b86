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
    /// List them, newest first
    Ls(DeadLs),
    /// Show one: why it could not be handled, where it came from, and what is in it
    Show(DeadShow),
    /// Publish them again to where they came from
    Replay(DeadChoice),
    /// Remove them
    Drop(DeadDrop),
}

/// Which letters are meant.
#[derive(Clone, Debug, Default, Args)]
pub struct DeadFilter {
    /// Only those with this code, as in schema_too_new
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Only those from this queue, as in aegir.requests.main
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
}

/// `aegir dead ls`.
#[derive(Debug, Args)]
pub struct DeadLs {
    #[command(flatten)]
    pub filter: DeadFilter,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
}

/// `aegir dead show`.
#[derive(Debug, Args)]
pub struct DeadShow {
    /// Its number, from `aegir dead ls`
    pub id: u64,
    /// The body, byte for byte, and nothing else
    #[arg(long)]
    pub raw: bool,
}

/// Letters by their numbers, or all that fit a filter.
#[derive(Debug, Args)]
pub struct DeadChoice {
    /// Their numbers, from `aegir dead ls`
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<u64>,
    /// All of them, or all that fit --code and --queue
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
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}
