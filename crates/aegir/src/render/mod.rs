//! From data to text for people. Pure: what a terminal can do is an argument, nothing is printed here.
//!
//! Colour is an addition: every text says the same without it.

pub mod catalog;
pub mod check;
pub mod dead;
pub mod diff;
pub mod documents;
pub mod log;
pub mod operation;
pub mod table;

use aegir_protocol::record::StepStatus;
use aegir_protocol::state::{Outcome, State};
use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What the text is for.
#[derive(Clone, Debug)]
pub struct Look {
    /// Whether it may have colours.
    pub colour: bool,
    /// Whether a person reads it at a terminal; tables are tab-separated otherwise.
    pub terminal: bool,
    /// The terminal's width in columns, where it is known.
    pub width: Option<u16>,
    /// In which zone times are told.
    pub zone: TimeZone,
}

impl Look {
    /// For pipes and files.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false, terminal: false, width: None, zone: TimeZone::UTC }
    }

    /// A text in a style, if there may be colours.
    #[must_use]
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// What catches the eye.
    #[must_use]
    pub fn strong(&self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// What may be overlooked.
    #[must_use]
    pub fn faint(&self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    /// How long ago a time was: `3 min ago`; what is long ago, as its date.
    #[must_use]
    pub fn ago(&self, at: Timestamp, now: Timestamp) -> String {
        match now.as_second() - at.as_second() {
            // Clocks differ.
            ..1 => "now".to_owned(),
            seconds @ 1..60 => format!("{seconds} s ago"),
            seconds @ 60..3600 => format!("{} min ago", seconds / 60),
            seconds @ 3600..86_400 => format!("{} h ago", seconds / 3600),
            seconds @ 86_400..2_592_000 => format!("{} d ago", seconds / 86_400),
            _ => at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d").to_string(),
        }
    }

    /// A time, to the second.
    #[must_use]
    pub fn time(&self, at: Timestamp) -> String {
        at.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }
}

fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(colour.into()))
}

/// How a state looks.
#[must_use]
pub fn state_style(state: State) -> Style {
    match state.outcome() {
        Some(outcome) => outcome_style(outcome),
        None => match state {
            State::Running | State::Claimed => colour(AnsiColor::Cyan),
            _ => colour(AnsiColor::Yellow),
        },
    }
}

/// How an outcome looks.
#[must_use]
pub fn outcome_style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Succeeded => colour(AnsiColor::Green),
        Outcome::Canceled => colour(AnsiColor::Yellow),
        Outcome::Failed | Outcome::Rejected | Outcome::Lost => colour(AnsiColor::Red),
    }
}

/// How a step's result looks.
#[must_use]
pub fn step_style(status: StepStatus) -> Style {
    match status {
        StepStatus::Ok => colour(AnsiColor::Green),
        StepStatus::Changed => colour(AnsiColor::Yellow),
        StepStatus::Failed | StepStatus::Unreachable => colour(AnsiColor::Red),
        StepStatus::Ignored | StepStatus::Skipped => colour(AnsiColor::Cyan),
    }
}

/// A text that begins a sentence.
#[must_use]
pub fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A duration as people say it: `0.4 s`, `12.3 s`, `2 min 5 s`, `1 h 2 min`.
#[must_use]
pub fn duration(milliseconds: u64) -> String {
    // Rounded before the unit is chosen, so that 59.97 s does not become `60.0 s`.
    let tenths = (milliseconds + 50) / 100;
    let seconds = (milliseconds + 500) / 1000;
    match seconds {
        0..60 if tenths < 600 => format!("{}.{} s", tenths / 10, tenths % 10),
        0..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// The milliseconds from one time to another; none if it lies before.
#[must_use]
pub fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0)
}

/// A number of bytes as people say it: `17 B`, `1.2 kB`, `3.4 MB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    let scaled = |unit: u64, name: &str| {
        let tenths = number / (unit / 10);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => scaled(1_000, "kB"),
        1_000_000..1_000_000_000 => scaled(1_000_000, "MB"),
        _ => scaled(1_000_000_000, "GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_by_how_long_ago_they_were() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        for (at, expect) in [
            ("2026-11-23T12:00:09Z", "now"),
            ("2026-11-23T11:59:01Z", "59 s ago"),
            ("2026-11-23T11:56:30Z", "3 min ago"),
            ("2026-11-22T12:00:01Z", "23 h ago"),
            ("2026-10-25T12:00:00Z", "29 d ago"),
            ("2026-10-24T12:00:00Z", "2026-10-24"),
        ] {
            assert_eq!(Look::plain().ago(at.parse().unwrap(), now), expect, "{at}");
        }
    }

    #[test]
    fn durations_and_sizes_are_told_in_fitting_units() {
        let cases = [
            (0, "0.0 s"),
            (449, "0.4 s"),
            (12_345, "12.3 s"),
            (59_970, "1 min 0 s"),
            (125_000, "2 min 5 s"),
            (3_599_600, "1 h 0 min"),
            (3_725_000, "1 h 2 min"),
        ];
        for (milliseconds, expect) in cases {
            assert_eq!(duration(milliseconds), expect, "{milliseconds}");
        }
        for (number, expect) in
            [(17, "17 B"), (1_234, "1.2 kB"), (3_450_000, "3.4 MB"), (5_000_000_000, "5.0 GB")]
        {
            assert_eq!(bytes(number), expect);
        }
    }
}
