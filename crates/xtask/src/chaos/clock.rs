//! The daemons' clocks, which can be set while they run. Runners and children keep the machine's: a runner inherits
//! no such variable.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;

use crate::workspace;

/// How far a clock is set. Longer than any schedule, so that a time which was read meanwhile tells that it was; shorter
/// than nodes keep transcripts, which the checker compares.
const FAR: Duration = Duration::from_secs(30 * 60);

/// What is loaded into each daemon.
const SHIM: &str = include_str!("clock.c");

/// To what a clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    /// To what it is.
    None,
    Ahead,
    Back,
}

impl Jump {
    pub(super) fn choose(choice: u64) -> Self {
        if choice.is_multiple_of(2) { Self::Ahead } else { Self::Back }
    }
}

/// Builds in `directory` what daemons are started with, and gives its path.
pub(super) fn build(directory: &Path) -> anyhow::Result<PathBuf> {
    let (source, library) = (directory.join("clock.c"), directory.join("clock.so"));
    fs::write(&source, SHIM).context("cannot write clock.c")?;
    // The C compiler that rustc links with.
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
    workspace::run(cc)?;
    Ok(library)
}

/// One daemon's clock.
#[derive(Debug)]
pub(super) struct Clock {
    /// The seconds to add.
    file: PathBuf,
}

impl Clock {
    pub(super) fn new(file: PathBuf) -> anyhow::Result<Self> {
        let clock = Self { file };
        clock.set(Jump::None)?;
        Ok(clock)
    }

    /// The daemon's environment.
    pub(super) fn variables(&self, library: &Path) -> [(&'static str, String); 2] {
        [("LD_PRELOAD", library.display().to_string()), ("CHAOS_CLOCK", self.file.display().to_string())]
    }

    /// Takes effect at once.
    pub(super) fn set(&self, jump: Jump) -> anyhow::Result<()> {
        let far = FAR.as_secs().cast_signed();
        let seconds = match jump {
            Jump::None => 0,
            Jump::Ahead => far,
            Jump::Back => -far,
        };
        // In place: the daemon has this very file in its memory.
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(&self.file);
        file.and_then(|mut file| file.write_all(&seconds.to_ne_bytes())).context("cannot set a clock")
    }
}

/// When a schedule was played, to make out which times are of a clock that was set.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Time {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
}

impl Time {
    /// Nanoseconds since 1970 by the machine's clock, of a time that a daemon may have read while its clock was set.
    pub(super) fn of(self, at: Timestamp) -> u64 {
        let slack = FAR / 2;
        let real = if at + slack < self.from {
            at + FAR
        } else if at > self.to + slack {
            at - FAR
        } else {
            at
        };
        u64::try_from(real.as_nanosecond()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_a_clock_that_was_set_is_made_out() {
        let second = |seconds| Timestamp::from_second(seconds).unwrap();
        let time = Time { from: second(10_000), to: second(10_300) };
        for (read, real) in [(10_100, 10_100), (8_300, 10_100), (11_900, 10_100), (9_995, 9_995)] {
            assert_eq!(time.of(second(read)), real * 1_000_000_000);
        }
    }
}
