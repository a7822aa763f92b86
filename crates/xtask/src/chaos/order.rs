//! One Operation of the load: what is asked for, and how its frontend behaves.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::random::Random;

/// How many sites share the load, so that Operations wait for each other.
const TARGETS: u64 = 9;
/// Fails however often it is tried.
const ALWAYS: u32 = 99;

/// Which of the role's operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadKind {
    Act,
    Minion,
    Play,
    Chain,
    Leased,
    Flaky,
}

impl LoadKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Act => "act",
            Self::Minion => "minion",
            Self::Play => "play",
            Self::Chain => "chain",
            Self::Leased => "leased",
            Self::Flaky => "flaky",
        }
    }

    /// Its Tasks, in order.
    pub(super) fn tasks(self) -> &'static [&'static str] {
        match self {
            Self::Act | Self::Leased | Self::Flaky => &["act"],
            Self::Minion => &["minion"],
            Self::Play => &["play"],
            Self::Chain => &["act", "minion", "again"],
        }
    }

    /// Which children a Task has, by their item.
    pub(super) fn items(self) -> &'static [u32] {
        match self {
            Self::Play => &[1, 2, 3],
            Self::Act | Self::Minion | Self::Chain | Self::Leased | Self::Flaky => &[0],
        }
    }
}

/// What a child prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Numbered lines.
    Text,
    /// Bytes of every value.
    Binary,
    /// One line without an end.
    Long,
}

impl Style {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
            Self::Long => "long",
        }
    }
}

/// How an Operation is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SubmitBy {
    Http,
    Amqp,
}

/// One Operation of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// When it is first submitted.
    pub(super) at: Duration,
    /// Its number: marks and idempotency key carry it.
    pub(super) number: u64,
    pub(super) way: SubmitBy,
    pub(super) work: LoadKind,
    pub(super) target: u64,
    pub(super) style: Style,
    /// How often a child prints.
    pub(super) count: u64,
    /// How long it waits after each time.
    pub(super) pause_ms: u64,
    /// How many attempts fail.
    pub(super) fails: u32,
    /// How often it is submitted besides, at the same time and with the same key.
    pub(super) repeats: u64,
    /// When it is called off, after it was accepted.
    pub(super) cancel_after: Option<Duration>,
    /// Whether its frontend asks for a further attempt when it has failed.
    pub(super) retry: bool,
}

impl Order {
    pub(super) fn generate(number: u64, span: u64, random: &mut Random) -> Self {
        // In bursts, so that lines form.
        let burst = random.between(0, 5) * (span * 9 / 10) / 6;
        let at = Duration::from_millis(burst + random.between(0, span / 8));
        let work = *random.pick(&[
            LoadKind::Act,
            LoadKind::Act,
            LoadKind::Act,
            LoadKind::Minion,
            LoadKind::Minion,
            LoadKind::Play,
            LoadKind::Chain,
            LoadKind::Leased,
            LoadKind::Leased,
            LoadKind::Flaky,
        ]);
        let way = if random.once_in(4) { SubmitBy::Amqp } else { SubmitBy::Http };
        let style = *random.pick(&[Style::Text, Style::Text, Style::Binary, Style::Long]);
        let chatty = random.once_in(4) && work != LoadKind::Play;
        let (count, pause_ms) = match (chatty, work) {
            (true, _) => (random.between(2_000, 20_000), 0),
            (false, LoadKind::Play) => (random.between(2, 8), random.between(10, 60)),
            (false, LoadKind::Leased) => (random.between(20, 130), 100),
            (false, _) => (random.between(1, 60), random.between(10, 100)),
        };
        let fails = match work {
            LoadKind::Flaky => *random.pick(&[0, 1, 2, 3, ALWAYS]),
            _ => *random.pick(&[0, 0, 0, 0, 1, ALWAYS]),
        };
        let cancel_after = random.once_in(6).then(|| Duration::from_millis(random.between(0, 6_000)));
        let repeats = if random.once_in(3) { random.between(1, 6) } else { 0 };
        let retry = random.once_in(2) && work != LoadKind::Flaky;
        let target = random.between(1, TARGETS);
        Self { at, number, way, work, target, style, count, pause_ms, fails, repeats, cancel_after, retry }
    }

    /// What its children put in each line, so that no two Operations print the same.
    pub(super) fn salt(&self) -> u64 {
        self.number * 1_000
    }

    pub(super) fn key(&self) -> String {
        format!("order-{}", self.number)
    }

    /// The request, for a child that is this program and leaves its marks in this file.
    pub(super) fn request(&self, program: &Path, marks: &Path, host: &Value) -> Value {
        json!({
            "name": format!("chaos.{}", self.work.name()),
            "target": {"kind": "site", "name": format!("site{}.test", self.target)},
            "hosts": [host],
            "requested_by": self.key(),
            "variables": {"site": {
                "program": program, "marks": marks, "seed": self.salt(), "style": self.style.as_str(),
                "count": self.count, "pause": self.pause_ms, "fails": self.fails,
            }},
        })
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at,
            number,
            way,
            work,
            target,
            style,
            count,
            pause_ms,
            fails,
            repeats,
            cancel_after,
            retry,
        } = self;
        let (work, style) = (work.name(), style.as_str());
        write!(
            f,
            "at {at:?}: order-{number} {work} on site{target}, {count} x {style} every {pause_ms} ms, fails {fails}"
        )?;
        write!(f, ", by {way:?}, repeated {repeats}, canceled after {cancel_after:?}, retried {retry}")
    }
}
